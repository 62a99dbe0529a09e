CREATE TABLE `results` (
	`run_id` text NOT NULL,
	`task` text NOT NULL,
	`version` integer NOT NULL,
	`scoring` text NOT NULL,
	`figures` text NOT NULL,
	`primary_metric` text NOT NULL,
	`count` integer NOT NULL,
	`total` integer NOT NULL,
	`cut` integer NOT NULL,
	`dataset_path` text NOT NULL,
	`dataset_sha256` text NOT NULL,
	`prompts_hash` text NOT NULL,
	`answers_hash` text NOT NULL,
	`template` text,
	`template_hash` text,
	`decoding` text NOT NULL,
	`contamination` text NOT NULL,
	`seconds` real NOT NULL,
	`items` blob NOT NULL,
	PRIMARY KEY(`run_id`, `task`),
	FOREIGN KEY (`run_id`) REFERENCES `runs`(`id`) ON UPDATE no action ON DELETE cascade
);
--> statement-breakpoint
CREATE INDEX `results_task` ON `results` (`task`);--> statement-breakpoint
CREATE TABLE `runs` (
	`id` text PRIMARY KEY NOT NULL,
	`kind` text NOT NULL,
	`state` text NOT NULL,
	`error` text,
	`created_at` integer NOT NULL,
	`finished_at` integer,
	`system` text NOT NULL,
	`model` text NOT NULL,
	`adapter` text,
	`settings` text NOT NULL,
	`folder` text NOT NULL,
	`output` text,
	`seed` integer NOT NULL,
	`model_hash` text,
	`adapter_hash` text,
	`kernel_hash` text,
	`device` text,
	`driver` text,
	`version` text NOT NULL,
	`commit` text
);
--> statement-breakpoint
CREATE INDEX `runs_created_at` ON `runs` (`created_at`);--> statement-breakpoint
CREATE INDEX `runs_model` ON `runs` (`model`);