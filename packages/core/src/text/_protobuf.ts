/** Just enough of the protocol buffer wire format to read a message of known fields. https://protobuf.dev/programming-guides/encoding/ */

/** One field: number, and its value as a varint, eight bytes, bytes, or four bytes. Groups do not exist in proto3 and are refused. */
export type WireField =
  | { readonly number: number; readonly type: "varint"; readonly value: bigint }
  | { readonly number: number; readonly type: "bytes" | "fixed32" | "fixed64"; readonly value: Uint8Array };

/** The fields of one message in their order. Throws RangeError if the bytes are no message. */
export function* readFields(bytes: Uint8Array): Generator<WireField> {
  let at = 0;
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = bytes[at++];
      if (byte === undefined) throw new RangeError(`ends inside a number at byte ${at - 1}`);
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt.asUintN(64, value);
    }
    throw new RangeError(`a number of more than ten bytes at byte ${at}`);
  };
  const take = (length: bigint): Uint8Array => {
    if (length > BigInt(bytes.length - at))
      throw new RangeError(`a field of ${length} bytes at byte ${at} of ${bytes.length}`);
    const taken = bytes.subarray(at, at + Number(length));
    at += Number(length);
    return taken;
  };
  while (at < bytes.length) {
    const key = varint();
    const number = Number(key >> 3n);
    switch (Number(key & 7n)) {
      case 0:
        yield { number, type: "varint", value: varint() };
        break;
      case 1:
        yield { number, type: "fixed64", value: take(8n) };
        break;
      case 2:
        yield { number, type: "bytes", value: take(varint()) };
        break;
      case 5:
        yield { number, type: "fixed32", value: take(4n) };
        break;
      default:
        throw new RangeError(`unknown wire type ${key & 7n} at byte ${at}`);
    }
  }
}
