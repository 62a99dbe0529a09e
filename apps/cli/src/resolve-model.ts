/** What a model's name on the command line stands for. Apart from load-model.ts, which opens a device. */
import { resolveModel } from "@graft/core/io";
import { config } from "./config.ts";

/** A local folder as it is; another name is a model of the Hugging Face hub, downloaded (`weights` false: tokenizer and config only) if the cache does not have it. */
export async function resolveModelFolder(model: string, { weights = true } = {}): Promise<string> {
  let shown = "";
  const show = (line: string): void => {
    if (line !== shown) process.stderr.write(process.stderr.isTTY ? `\r\x1b[K${line}` : `${line}\n`);
    shown = line;
  };
  const folder = await resolveModel(model, {
    ...config.hub,
    weights,
    onNotice: (line) => process.stderr.write(`${line}\n`),
    // In whole tenths, so that a log file does not fill up.
    onProgress: ({ file, bytes, total }) =>
      show(
        `downloading ${model}: ${Math.floor((10 * bytes) / Math.max(1, total)) * 10} % of ${(total / 1e6).toFixed(1)} MB (${file})`,
      ),
  });
  if (shown !== "" && process.stderr.isTTY) process.stderr.write("\n");
  return folder;
}
