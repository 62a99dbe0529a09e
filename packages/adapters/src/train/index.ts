/** Training from files to files: what the commands and the server share. */
export { checkpointSteps } from "./checkpoint.ts";
export { trainingDefaults } from "./defaults.ts";
export type { TrainRunEvent } from "./events.ts";
export {
  hyperparametersSchema,
  jobAdapterSchema,
  jobOptions,
  type JobPlaces,
  type JobRequest,
  jobRequestSchema,
  type JobSetting,
  type JobSpec,
  jobSpecSchema,
  resolveJob,
} from "./job.ts";
export { readTrainingRecord, type TrainingRecord } from "./record.ts";
export { type TaskEvals, trainRun, type TrainResult, type TrainRunOptions, type TrainTools } from "./run.ts";
