export * from "./chat.ts";
export * from "./tokenizer.ts";
