export * from "./base-model.ts";
export type { ModelDefinition, ModelSizes } from "./model.ts";
export { type Quantization, quantizationMethod, quantizationMethods, quantizedTypes } from "./quantization.ts";
export { quantizeFolder } from "./quantize-folder.ts";
export { modelFor, models } from "./registry.ts";
export * from "./trace.ts";
export { fullParameters } from "./full-parameters.ts";
