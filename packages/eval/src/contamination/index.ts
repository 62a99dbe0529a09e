export { DEFAULT_THRESHOLD, findContamination, LOWEST_THRESHOLD, searchIndex } from "./find.ts";
export type { ContaminationOptions, TestQuestions } from "./find.ts";
export { type QuestionText, questionText } from "./question-text.ts";
export {
  type ContaminationMatch,
  type ContaminationReport,
  type ContaminationSummary,
  flagOf,
  flagsOf,
  percent,
} from "./report.ts";
export { type RowText, rowTexts } from "./row-texts.ts";
export {
  questionOfDoc,
  readQuestionFile,
  readTrainFile,
  type ReadTrainFile,
  readTrainFiles,
  type TrainFileOptions,
} from "./train-file.ts";
export {
  type IndexOptions,
  indexTraining,
  type TrainFile,
  type TrainingIndex,
  type TrainText,
} from "./training-index.ts";
