export { equalFixed } from "./equal.ts";
export { statedNumber } from "./number.ts";
export { statedOption } from "./option.ts";
export { equalNumbers, firstLetter, firstOf, lastNumber } from "./paper.ts";
export { statedWord } from "./word.ts";
