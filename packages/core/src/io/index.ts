export {
  type AtomicFile,
  type AtomicOptions,
  openAtomic,
  recoverFolder,
  removePartials,
  writeFileAtomic,
  writeFilesAtomic,
  writeFolderAtomic,
} from "./atomic.ts";
export { companionFiles } from "./_model-files.ts";
export * from "./checkpoint.ts";
export * from "./dtype.ts";
export * from "./hub.ts";
export * from "./json.ts";
export * from "./new-folder.ts";
export * from "./output.ts";
export * from "./safetensors.ts";
export * from "./tensor-file.ts";
export * from "./torch-pickle.ts";
