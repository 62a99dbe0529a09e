/** Answers of the server's API: the fields that the page reads. Times are Unix seconds. */

export interface List<T> {
  readonly data: readonly T[];
  readonly has_more?: boolean;
}

export interface Status {
  readonly model: string;
  readonly model_type: string;
  readonly max_model_len: number;
  readonly device: string;
  readonly uptime_seconds: number;
  /** null while the engine's process is being started again. */
  readonly engine: EngineStatus | null;
  readonly memory: {
    readonly device_bytes: number | null;
    readonly weights_bytes: number;
    readonly kv_bytes: number;
    readonly adapter_bytes_on_device: number | null;
    readonly adapter_bytes_on_host: number | null;
    readonly rss_bytes: number;
  };
  readonly jobs: { readonly [state in JobStatus]?: number };
}

/** Counters grow from the start of the engine's process. */
export interface EngineStatus {
  readonly running: number;
  readonly waiting: number;
  readonly waiting_tokens: number;
  readonly kv_pages_used: number;
  readonly kv_pages_cached: number;
  readonly kv_pages_total: number;
  readonly adapters: number;
  readonly adapters_on_device: number;
  readonly generated_tokens: number;
  readonly prompt_tokens: number;
  readonly cached_prompt_tokens: number;
  readonly preemptions: number;
  readonly training_tokens?: number;
  readonly by_adapter: Readonly<Record<string, AdapterLoad>>;
}

export interface AdapterLoad {
  readonly running: number;
  readonly waiting: number;
  readonly generated_tokens: number;
}

export interface Model {
  readonly id: string;
  /** null: this is the base. */
  readonly parent: string | null;
}

export interface Adapter {
  readonly name: string;
  readonly current_version: number | null;
  readonly method: string;
  readonly parameters: number;
  readonly bytes: number;
  readonly virtual_tokens: number;
  readonly pinned: boolean;
  readonly tier: string;
  readonly created_at: number;
  readonly versions: number;
}

export interface AdapterVersion {
  readonly version: number;
  readonly hash: string;
  readonly source: { readonly type: string } & Readonly<Record<string, unknown>>;
  readonly method: string;
  readonly parameters: number;
  readonly bytes: number;
  readonly created_at: number;
  readonly published_at: number | null;
  readonly is_current: boolean;
}

export interface TrainingFile {
  readonly id: string;
  readonly filename: string;
  readonly bytes: number;
  readonly created_at: number;
  readonly graft?: { readonly format: string; readonly rows: number };
}

export type JobStatus = "validating_files" | "queued" | "running" | "paused" | "succeeded" | "failed" | "cancelled";

export interface Job {
  readonly id: string;
  readonly model: string;
  readonly created_at: number;
  readonly finished_at: number | null;
  readonly fine_tuned_model: string | null;
  readonly status: JobStatus;
  readonly training_file: string;
  readonly validation_file: string | null;
  readonly method?: {
    readonly supervised?: {
      readonly hyperparameters?: Readonly<Record<string, unknown>>;
      readonly adapter?: Readonly<Record<string, unknown>>;
    };
  };
  readonly trained_tokens: number | null;
  readonly error: { readonly message: string } | null;
  readonly estimated_finish: number | null;
  readonly user_provided_suffix?: string | null;
  readonly graft?: {
    readonly step?: number | null;
    readonly total_steps?: number | null;
    readonly loss?: number | null;
  };
}

export interface JobEvent {
  readonly id: string;
  readonly created_at: number;
  readonly level: "info" | "warn" | "error";
  readonly message: string;
  readonly type: "message" | "metrics";
  readonly data: {
    readonly step?: number;
    readonly train_loss?: number | null;
    readonly valid_loss?: number | null;
    readonly learning_rate?: number | null;
  } | null;
}

export interface Checkpoint {
  readonly id: string;
  readonly created_at: number;
  readonly fine_tuned_model_checkpoint: string;
  readonly step_number: number;
  readonly metrics: { readonly train_loss?: number | null; readonly valid_loss?: number | null };
}

export interface Figure {
  readonly value: number | null;
  /** 95 %. */
  readonly interval: readonly [number | null, number | null];
  readonly higher_is_better: boolean;
}

export interface TaskResult {
  readonly task: string;
  readonly scoring: string;
  /** The metric that stands for the task. */
  readonly primary: string;
  readonly figures: Readonly<Record<string, Figure>>;
  readonly count: number;
  readonly contamination: readonly string[];
}

export interface Run {
  readonly id: string;
  readonly kind: string;
  readonly state: string;
  readonly system: string;
  readonly model: string;
  readonly adapter: string | null;
  readonly created_at: number;
  readonly finished_at: number | null;
  readonly error: string | null;
  readonly results: readonly TaskResult[];
}
