CREATE TABLE "adapter_publications" (
	"adapter" text NOT NULL,
	"position" bigint NOT NULL,
	"number" bigint NOT NULL,
	"at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "adapter_publications_adapter_position_pk" PRIMARY KEY("adapter","position")
);
--> statement-breakpoint
CREATE TABLE "adapter_versions" (
	"adapter" text NOT NULL,
	"number" bigint NOT NULL,
	"hash" text NOT NULL,
	"path" text,
	"source" json NOT NULL,
	"method" text NOT NULL,
	"parameters" bigint NOT NULL,
	"bytes" bigint NOT NULL,
	"virtual_tokens" bigint NOT NULL,
	"created_at" timestamp (3) with time zone NOT NULL,
	"published_at" timestamp (3) with time zone,
	CONSTRAINT "adapter_versions_adapter_number_pk" PRIMARY KEY("adapter","number")
);
--> statement-breakpoint
CREATE TABLE "adapters" (
	"name" text PRIMARY KEY NOT NULL,
	"current_version" bigint,
	"last_version" bigint NOT NULL,
	"is_pinned" boolean NOT NULL,
	"created_at" timestamp (3) with time zone NOT NULL
);
--> statement-breakpoint
CREATE TABLE "api_keys" (
	"id" text PRIMARY KEY NOT NULL,
	"name" text NOT NULL,
	"hash" text NOT NULL,
	"prefix" text NOT NULL,
	"scopes" json NOT NULL,
	"requests_per_minute" bigint,
	"tokens_per_minute" bigint,
	"created_at" timestamp (3) with time zone NOT NULL,
	"last_used_at" timestamp (3) with time zone,
	"revoked_at" timestamp (3) with time zone,
	CONSTRAINT "api_keys_hash_unique" UNIQUE("hash")
);
--> statement-breakpoint
CREATE TABLE "files" (
	"id" text PRIMARY KEY NOT NULL,
	"filename" text NOT NULL,
	"purpose" text NOT NULL,
	"format" text NOT NULL,
	"rows" bigint NOT NULL,
	"bytes" bigint NOT NULL,
	"sha256" text NOT NULL,
	"created_at" timestamp (3) with time zone NOT NULL
);
--> statement-breakpoint
CREATE TABLE "job_checkpoints" (
	"job" text NOT NULL,
	"step" bigint NOT NULL,
	"path" text NOT NULL,
	"metrics" json NOT NULL,
	"at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "job_checkpoints_job_step_pk" PRIMARY KEY("job","step")
);
--> statement-breakpoint
CREATE TABLE "job_events" (
	"job" text NOT NULL,
	"number" bigint NOT NULL,
	"level" text NOT NULL,
	"type" text NOT NULL,
	"message" text NOT NULL,
	"data" json,
	"at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "job_events_job_number_pk" PRIMARY KEY("job","number")
);
--> statement-breakpoint
CREATE TABLE "jobs" (
	"id" text PRIMARY KEY NOT NULL,
	"state" text NOT NULL,
	"request" json NOT NULL,
	"model" text NOT NULL,
	"training_file" text NOT NULL,
	"validation_file" text,
	"suffix" text,
	"seed" bigint NOT NULL,
	"metadata" json NOT NULL,
	"progress" json NOT NULL,
	"error" json,
	"adapter" text,
	"adapter_version" bigint,
	"last_event" bigint NOT NULL,
	"created_at" timestamp (3) with time zone NOT NULL,
	"updated_at" timestamp (3) with time zone NOT NULL,
	"started_at" timestamp (3) with time zone,
	"finished_at" timestamp (3) with time zone
);
--> statement-breakpoint
CREATE TABLE "results" (
	"run_id" text NOT NULL,
	"task" text NOT NULL,
	"position" bigint DEFAULT 0 NOT NULL,
	"version" bigint NOT NULL,
	"scoring" text NOT NULL,
	"figures" json NOT NULL,
	"primary_metric" text NOT NULL,
	"count" bigint NOT NULL,
	"total" bigint NOT NULL,
	"cut" bigint NOT NULL,
	"dataset_path" text NOT NULL,
	"dataset_sha256" text NOT NULL,
	"prompts_hash" text NOT NULL,
	"answers_hash" text NOT NULL,
	"template" text,
	"template_hash" text,
	"decoding" json NOT NULL,
	"contamination" json NOT NULL,
	"seconds" double precision NOT NULL,
	"items" "bytea" NOT NULL,
	CONSTRAINT "results_run_id_task_pk" PRIMARY KEY("run_id","task")
);
--> statement-breakpoint
CREATE TABLE "runs" (
	"id" text PRIMARY KEY NOT NULL,
	"ordinal" bigint DEFAULT 0 NOT NULL,
	"kind" text NOT NULL,
	"state" text NOT NULL,
	"error" text,
	"created_at" timestamp (3) with time zone NOT NULL,
	"finished_at" timestamp (3) with time zone,
	"system" text NOT NULL,
	"model" text NOT NULL,
	"adapter" text,
	"settings" json NOT NULL,
	"folder" text NOT NULL,
	"output" text,
	"seed" bigint NOT NULL,
	"model_hash" text,
	"adapter_hash" text,
	"kernel_hash" text,
	"device" text,
	"driver" text,
	"version" text NOT NULL,
	"commit" text
);
--> statement-breakpoint
ALTER TABLE "adapter_publications" ADD CONSTRAINT "adapter_publications_adapter_adapters_name_fk" FOREIGN KEY ("adapter") REFERENCES "public"."adapters"("name") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "adapter_versions" ADD CONSTRAINT "adapter_versions_adapter_adapters_name_fk" FOREIGN KEY ("adapter") REFERENCES "public"."adapters"("name") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "job_checkpoints" ADD CONSTRAINT "job_checkpoints_job_jobs_id_fk" FOREIGN KEY ("job") REFERENCES "public"."jobs"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "job_events" ADD CONSTRAINT "job_events_job_jobs_id_fk" FOREIGN KEY ("job") REFERENCES "public"."jobs"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "results" ADD CONSTRAINT "results_run_id_runs_id_fk" FOREIGN KEY ("run_id") REFERENCES "public"."runs"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "adapter_versions_hash" ON "adapter_versions" USING btree ("hash");--> statement-breakpoint
CREATE INDEX "adapters_created_at" ON "adapters" USING btree ("created_at");--> statement-breakpoint
CREATE INDEX "files_created_at" ON "files" USING btree ("created_at");--> statement-breakpoint
CREATE INDEX "files_sha256" ON "files" USING btree ("sha256");--> statement-breakpoint
CREATE INDEX "jobs_state" ON "jobs" USING btree ("state");--> statement-breakpoint
CREATE INDEX "jobs_created_at" ON "jobs" USING btree ("created_at");--> statement-breakpoint
CREATE INDEX "results_task" ON "results" USING btree ("task");--> statement-breakpoint
CREATE INDEX "runs_created_at" ON "runs" USING btree ("created_at");--> statement-breakpoint
CREATE INDEX "runs_model" ON "runs" USING btree ("model");--> statement-breakpoint
CREATE INDEX "runs_ordinal" ON "runs" USING btree ("ordinal");