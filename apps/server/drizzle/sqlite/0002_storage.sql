DROP INDEX `jobs_state`;--> statement-breakpoint
ALTER TABLE `adapters` RENAME TO `adapters_before`;--> statement-breakpoint
ALTER TABLE `jobs` RENAME TO `jobs_before`;--> statement-breakpoint
CREATE TABLE `adapter_publications` (
	`adapter` text NOT NULL,
	`position` integer NOT NULL,
	`number` integer NOT NULL,
	`at` integer NOT NULL,
	PRIMARY KEY(`adapter`, `position`),
	FOREIGN KEY (`adapter`) REFERENCES `adapters`(`name`) ON UPDATE no action ON DELETE cascade
);
--> statement-breakpoint
CREATE TABLE `adapter_versions` (
	`adapter` text NOT NULL,
	`number` integer NOT NULL,
	`hash` text NOT NULL,
	`path` text,
	`source` text NOT NULL,
	`method` text NOT NULL,
	`parameters` integer NOT NULL,
	`bytes` integer NOT NULL,
	`virtual_tokens` integer NOT NULL,
	`created_at` integer NOT NULL,
	`published_at` integer,
	PRIMARY KEY(`adapter`, `number`),
	FOREIGN KEY (`adapter`) REFERENCES `adapters`(`name`) ON UPDATE no action ON DELETE cascade
);
--> statement-breakpoint
CREATE INDEX `adapter_versions_hash` ON `adapter_versions` (`hash`);--> statement-breakpoint
CREATE TABLE `adapters` (
	`name` text PRIMARY KEY NOT NULL,
	`current_version` integer,
	`last_version` integer NOT NULL,
	`is_pinned` integer NOT NULL,
	`created_at` integer NOT NULL
);
--> statement-breakpoint
CREATE INDEX `adapters_created_at` ON `adapters` (`created_at`);--> statement-breakpoint
CREATE TABLE `api_keys` (
	`id` text PRIMARY KEY NOT NULL,
	`name` text NOT NULL,
	`hash` text NOT NULL,
	`prefix` text NOT NULL,
	`scopes` text NOT NULL,
	`requests_per_minute` integer,
	`tokens_per_minute` integer,
	`created_at` integer NOT NULL,
	`last_used_at` integer,
	`revoked_at` integer
);
--> statement-breakpoint
CREATE UNIQUE INDEX `api_keys_hash_unique` ON `api_keys` (`hash`);--> statement-breakpoint
CREATE TABLE `files` (
	`id` text PRIMARY KEY NOT NULL,
	`filename` text NOT NULL,
	`purpose` text NOT NULL,
	`format` text NOT NULL,
	`rows` integer NOT NULL,
	`bytes` integer NOT NULL,
	`sha256` text NOT NULL,
	`created_at` integer NOT NULL
);
--> statement-breakpoint
CREATE INDEX `files_created_at` ON `files` (`created_at`);--> statement-breakpoint
CREATE INDEX `files_sha256` ON `files` (`sha256`);--> statement-breakpoint
CREATE TABLE `job_checkpoints` (
	`job` text NOT NULL,
	`step` integer NOT NULL,
	`path` text NOT NULL,
	`metrics` text NOT NULL,
	`at` integer NOT NULL,
	PRIMARY KEY(`job`, `step`),
	FOREIGN KEY (`job`) REFERENCES `jobs`(`id`) ON UPDATE no action ON DELETE cascade
);
--> statement-breakpoint
CREATE TABLE `job_events` (
	`job` text NOT NULL,
	`number` integer NOT NULL,
	`level` text NOT NULL,
	`type` text NOT NULL,
	`message` text NOT NULL,
	`data` text,
	`at` integer NOT NULL,
	PRIMARY KEY(`job`, `number`),
	FOREIGN KEY (`job`) REFERENCES `jobs`(`id`) ON UPDATE no action ON DELETE cascade
);
--> statement-breakpoint
CREATE TABLE `jobs` (
	`id` text PRIMARY KEY NOT NULL,
	`state` text NOT NULL,
	`request` text NOT NULL,
	`model` text NOT NULL,
	`training_file` text NOT NULL,
	`validation_file` text,
	`suffix` text,
	`seed` integer NOT NULL,
	`metadata` text NOT NULL,
	`progress` text NOT NULL,
	`error` text,
	`adapter` text,
	`adapter_version` integer,
	`last_event` integer NOT NULL,
	`created_at` integer NOT NULL,
	`updated_at` integer NOT NULL,
	`started_at` integer,
	`finished_at` integer
);
--> statement-breakpoint
CREATE INDEX `jobs_state` ON `jobs` (`state`);--> statement-breakpoint
CREATE INDEX `jobs_created_at` ON `jobs` (`created_at`);--> statement-breakpoint
-- A name was one folder: now it is a name with one version, which is published. What was not recorded of it is 0.
INSERT INTO `adapters` (`name`, `current_version`, `last_version`, `is_pinned`, `created_at`)
SELECT `name`, 1, 1, 0, `loaded_at` FROM `adapters_before`;--> statement-breakpoint
INSERT INTO `adapter_versions` (`adapter`, `number`, `hash`, `path`, `source`, `method`, `parameters`, `bytes`, `virtual_tokens`, `created_at`, `published_at`)
SELECT `name`, 1, `version`, `path`, json_object('type', 'path', 'path', `path`), `method`, 0, 0, 0, `loaded_at`, `loaded_at` FROM `adapters_before`;--> statement-breakpoint
INSERT INTO `adapter_publications` (`adapter`, `position`, `number`, `at`)
SELECT `name`, 1, 1, `loaded_at` FROM `adapters_before`;--> statement-breakpoint
DROP TABLE `adapters_before`;--> statement-breakpoint
INSERT INTO `jobs` (`id`, `state`, `request`, `model`, `training_file`, `seed`, `metadata`, `progress`, `error`, `last_event`, `created_at`, `updated_at`)
SELECT `id`, `state`, `body`,
	coalesce(json_extract(`body`, '$.model'), ''),
	coalesce(json_extract(`body`, '$.training_file'), ''),
	0, '{}', '{"step":0,"totalSteps":null,"loss":null,"trainedTokens":0,"estimatedFinish":null}',
	CASE WHEN `error` IS NULL THEN NULL ELSE json_object('code', 'server_error', 'message', `error`, 'param', NULL) END,
	0, `created_at`, `updated_at`
FROM (SELECT *, CASE WHEN json_valid("request") AND json_type("request") = 'object' THEN "request" ELSE '{}' END AS "body" FROM `jobs_before`);--> statement-breakpoint
DROP TABLE `jobs_before`;--> statement-breakpoint
ALTER TABLE `results` ADD `position` integer DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE `runs` ADD `ordinal` integer DEFAULT 0 NOT NULL;--> statement-breakpoint
CREATE INDEX `runs_ordinal` ON `runs` (`ordinal`);--> statement-breakpoint
UPDATE `runs` SET `ordinal` = rowid;--> statement-breakpoint
UPDATE `results` SET `position` = rowid;
