/**
 * A reader of Python pickles that can only build data: no import, no call, no attribute of anything. Opcodes as in CPython's Lib/pickletools.py, protocols 2 to 5.
 * What `GLOBAL`, `REDUCE` and `BINPERSID` mean is decided by the caller's short lists.
 */

/** A name the pickle refers to; it stays a name. */
export class PickleGlobal {
  readonly name: string;
  constructor(name: string) {
    this.name = name;
  }
}

export type PickleValue =
  | null
  | boolean
  | number
  | string
  | Uint8Array
  | PickleGlobal
  | PickleValue[]
  | PickleDict
  | PickleObject;
/** Keys that are no strings are kept as they are. */
export type PickleDict = Map<PickleValue, PickleValue>;
/** Whatever the caller made of a call or a persistent id. */
export interface PickleObject {
  readonly kind: string;
}

export interface PickleRules {
  /** Names that may occur at all, "module name". */
  isAllowed(name: string): boolean;
  /** The value of `name(...args)`. Throws PickleError for a call it does not know. */
  call(name: string, args: readonly PickleValue[]): PickleValue;
  /** The value of a persistent id. */
  load(id: PickleValue): PickleValue;
}

export class PickleError extends Error {
  override name = "PickleError";
}

const mark = Symbol("mark");

/** The value of a pickle. Work and memory are linear in its length. Throws PickleError. */
export function readPickle(bytes: Uint8Array, rules: PickleRules): PickleValue {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const stack: (PickleValue | typeof mark)[] = [];
  const memo = new Map<number, PickleValue>();
  let at = 0;

  const fail = (problem: string): never => {
    throw new PickleError(`${problem} at byte ${at}`);
  };
  const take = (length: number): number => {
    if (!(length <= bytes.length - at)) fail(`${length} bytes are missing`);
    at += length;
    return at - length;
  };
  const text = (length: number): string => {
    const begin = take(length);
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes.subarray(begin, begin + length));
    } catch {
      return fail("text that is not UTF-8");
    }
  };
  const line = (): string => {
    const end = bytes.indexOf(0x0a, at);
    if (end < 0) fail("a line without end");
    const words = text(end - at);
    at++;
    return words;
  };
  const pop = (): PickleValue => {
    const value = stack.pop();
    return value === undefined || value === mark ? fail("nothing on the stack") : value;
  };
  const top = (): PickleValue => {
    const value = stack.at(-1);
    return value === undefined || value === mark ? fail("nothing on the stack") : value;
  };
  const popToMark = (): PickleValue[] => {
    const from = stack.lastIndexOf(mark);
    if (from < 0) fail("no mark on the stack");
    return stack.splice(from).slice(1) as PickleValue[]; // there is no mark above the last one
  };
  const tuple = (count: number): void => {
    const items = Array.from({ length: count }, pop).reverse();
    stack.push(items);
  };
  const setItems = (items: readonly PickleValue[]): void => {
    const dict = top();
    if (!(dict instanceof Map) || items.length % 2 !== 0) fail("items for what is no dictionary");
    else for (let i = 0; i < items.length; i += 2) dict.set(items[i]!, items[i + 1]!);
  };
  const append = (items: readonly PickleValue[]): void => {
    const list = top();
    if (!Array.isArray(list)) fail("items for what is no list");
    else for (const item of items) list.push(item);
  };
  const global = (module: string, name: string): void => {
    const whole = `${module} ${name}`;
    if (!rules.isAllowed(whole))
      fail(`it refers to ${module}.${name}, which is not on the list of what weights need; it was not run`);
    stack.push(new PickleGlobal(whole));
  };
  const get = (index: number): void => {
    const value = memo.get(index);
    if (value === undefined) fail(`memo ${index} is empty`);
    else stack.push(value);
  };
  const size8 = (): number => {
    const length = view.getBigUint64(take(8), true);
    return length <= BigInt(bytes.length) ? Number(length) : fail(`${length} bytes are missing`);
  };
  const long = (length: number): void => {
    const begin = take(length);
    let value = 0n;
    if (length > 8) fail("an integer of more than eight bytes");
    for (let i = length - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[begin + i]!);
    const signed = BigInt.asIntN(length * 8, value);
    const number = Number(signed);
    stack.push(Number.isSafeInteger(number) ? number : fail(`the integer ${signed} is beyond 2^53`));
  };

  for (;;) {
    const opcode = bytes[take(1)]!;
    switch (String.fromCharCode(opcode)) {
      case "\x80": {
        const protocol = bytes[take(1)]!;
        if (protocol > 5) fail(`protocol ${protocol} is not known`);
        break;
      }
      case "\x95": // FRAME: a hint for reading ahead
        take(8);
        break;
      case ".":
        return pop();
      case "(":
        stack.push(mark);
        break;
      case "N":
        stack.push(null);
        break;
      case "\x88":
        stack.push(true);
        break;
      case "\x89":
        stack.push(false);
        break;
      case "J":
        stack.push(view.getInt32(take(4), true));
        break;
      case "K":
        stack.push(bytes[take(1)]!);
        break;
      case "M":
        stack.push(view.getUint16(take(2), true));
        break;
      case "\x8a":
        long(bytes[take(1)]!);
        break;
      case "G":
        stack.push(view.getFloat64(take(8), false));
        break;
      case "X":
        stack.push(text(view.getUint32(take(4), true)));
        break;
      case "\x8c":
        stack.push(text(bytes[take(1)]!));
        break;
      case "\x8d":
        stack.push(text(size8()));
        break;
      case "U": // SHORT_BINSTRING, by Python 2
        stack.push(text(bytes[take(1)]!));
        break;
      case "C": {
        const length = bytes[take(1)]!;
        const begin = take(length);
        stack.push(bytes.slice(begin, begin + length));
        break;
      }
      case "}":
        stack.push(new Map());
        break;
      case "]":
      case ")":
        stack.push([]);
        break;
      case "t":
      case "l":
        stack.push(popToMark());
        break;
      case "d":
        {
          const items = popToMark();
          stack.push(new Map());
          setItems(items);
        }
        break;
      case "\x85":
        tuple(1);
        break;
      case "\x86":
        tuple(2);
        break;
      case "\x87":
        tuple(3);
        break;
      case "s": {
        const value = pop();
        const key = pop();
        setItems([key, value]);
        break;
      }
      case "u":
        setItems(popToMark());
        break;
      case "a":
        append([pop()]);
        break;
      case "e":
        append(popToMark());
        break;
      case "q":
        memo.set(bytes[take(1)]!, top());
        break;
      case "r":
        memo.set(view.getUint32(take(4), true), top());
        break;
      case "\x94":
        memo.set(memo.size, top());
        break;
      case "h":
        get(bytes[take(1)]!);
        break;
      case "j":
        get(view.getUint32(take(4), true));
        break;
      case "c": {
        const module = line();
        global(module, line());
        break;
      }
      case "\x93": {
        const name = pop();
        const module = pop();
        if (typeof name !== "string" || typeof module !== "string") fail("a global whose name is no text");
        else global(module, name);
        break;
      }
      case "R": {
        const args = pop();
        const callee = pop();
        if (!(callee instanceof PickleGlobal) || !Array.isArray(args)) fail("a call of what is no name");
        else stack.push(rules.call(callee.name, args));
        break;
      }
      case "b": // BUILD: the attributes of a dictionary (a state dict's _metadata) are of no use here
        if (!(pop() instanceof Map) || !(top() instanceof Map)) fail("attributes for what is no dictionary");
        break;
      case "Q":
        stack.push(rules.load(pop()));
        break;
      default:
        fail(`opcode 0x${opcode.toString(16).padStart(2, "0")} is not one that weights need; it was not run`);
    }
  }
}
