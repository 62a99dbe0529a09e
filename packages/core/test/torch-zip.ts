/** Files as torch.save writes them, put together by hand: for tests of what it may write, and of what nobody should. */

export interface ZipOptions {
  /** Sizes and places in zip64 fields. */
  readonly isZip64?: boolean;
}

/** A zip archive of stored entries. Checksums are left zero: readers of weights do not check them, nor do we. */
export function zip(
  entries: readonly (readonly [name: string, content: Uint8Array | string])[],
  { isZip64 = false }: ZipOptions = {},
): Uint8Array<ArrayBuffer> {
  const parts: Uint8Array[] = [];
  const directory: Uint8Array[] = [];
  let at = 0;
  const add = (list: Uint8Array[], bytes: Uint8Array): number => {
    list.push(bytes);
    return bytes.length;
  };
  for (const [name, content] of entries) {
    const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
    const label = new TextEncoder().encode(name);
    const begin = at;
    at += add(parts, record("IHHHHHIIIHH", 0x04034b50, 45, 0, 0, 0, 0, 0, bytes.length, bytes.length, label.length, 5));
    at += add(parts, label) + add(parts, Uint8Array.of(0x46, 0x42, 1, 0, 0)); // an extra field, as torch pads with
    at += add(parts, bytes);
    const extra = isZip64 ? record("HHQQQ", 1, 24, bytes.length, bytes.length, begin) : new Uint8Array(0);
    const [size, place] = isZip64 ? [0xffffffff, 0xffffffff] : [bytes.length, begin];
    add(
      directory,
      record(
        "IHHHHHHIIIHHHHHII",
        0x02014b50,
        45,
        45,
        0,
        0,
        0,
        0,
        0,
        size,
        size,
        label.length,
        extra.length,
        0,
        0,
        0,
        0,
        place,
      ),
    );
    add(directory, label);
    add(directory, extra);
  }
  const directoryBytes = directory.reduce((sum, part) => sum + part.length, 0);
  const end = at + directoryBytes;
  const tail = isZip64
    ? [
        record("IQHHIIQQQQ", 0x06064b50, 44, 45, 45, 0, 0, entries.length, entries.length, directoryBytes, at),
        record("IIQI", 0x07064b50, 0, end, 1),
        record("IHHHHIIH", 0x06054b50, 0, 0, 0xffff, 0xffff, 0xffffffff, 0xffffffff, 0),
      ]
    : [record("IHHHHIIH", 0x06054b50, 0, 0, entries.length, entries.length, directoryBytes, at, 0)];
  return join([...parts, ...directory, ...tail]);
}

/** Numbers as bytes, little-endian: H two, I four, Q eight. */
function record(format: string, ...values: number[]): Uint8Array {
  const width = { H: 2, I: 4, Q: 8 } as const;
  const letters = [...format] as (keyof typeof width)[];
  const bytes = new Uint8Array(letters.reduce((sum, letter) => sum + width[letter], 0));
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const [i, letter] of letters.entries()) {
    if (letter === "H") view.setUint16(at, values[i]!, true);
    else if (letter === "I") view.setUint32(at, values[i]!, true);
    else view.setBigUint64(at, BigInt(values[i]!), true);
    at += width[letter];
  }
  return bytes;
}

export function join(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Pickle opcodes, protocol 2. Text goes through `text`, so a program reads as a list. */
export const pickle = {
  program: (...parts: readonly (string | Uint8Array)[]): Uint8Array =>
    join([ascii("\x80\x02"), ...parts.map((p) => (typeof p === "string" ? ascii(p) : p)), ascii(".")]),
  text: (value: string): Uint8Array => {
    const bytes = new TextEncoder().encode(value);
    return join([ascii("X"), record("I", bytes.length), bytes]);
  },
  int: (value: number): Uint8Array => {
    const bytes = new Uint8Array(5);
    bytes[0] = 0x4a;
    new DataView(bytes.buffer).setInt32(1, value, true);
    return bytes;
  },
  tuple: (...parts: readonly Uint8Array[]): Uint8Array => join([ascii("("), ...parts, ascii("t")]),
  global: (name: string): Uint8Array => ascii(`c${name.replace(" ", "\n")}\n`),
  storage: (type: string, key: string, elements: number): Uint8Array =>
    join([
      pickle.tuple(
        pickle.text("storage"),
        pickle.global(type),
        pickle.text(key),
        pickle.text("cpu"),
        pickle.int(elements),
      ),
      ascii("Q"),
    ]),
  tensor: (storage: Uint8Array, offset: number, shape: readonly number[], strides: readonly number[]): Uint8Array =>
    join([
      pickle.global("torch._utils _rebuild_tensor_v2"),
      pickle.tuple(
        storage,
        pickle.int(offset),
        pickle.tuple(...shape.map(pickle.int)),
        pickle.tuple(...strides.map(pickle.int)),
        ascii("\x89"),
        ascii("ccollections\nOrderedDict\n)R"),
      ),
      ascii("R"),
    ]),
};

function ascii(text: string): Uint8Array {
  return Uint8Array.from(text, (char) => char.charCodeAt(0));
}
