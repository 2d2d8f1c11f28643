-- A database of schema version 3, with what that of version 2 holds.
BEGIN TRANSACTION;
CREATE TABLE batches (
    seq INTEGER NOT NULL,
    id VARCHAR(64) NOT NULL,
    endpoint VARCHAR(64) NOT NULL,
    model TEXT,
    errors JSON,
    input_file_id VARCHAR(64) NOT NULL,
    completion_window VARCHAR(16) NOT NULL,
    status VARCHAR(16) NOT NULL,
    output_file_id VARCHAR(64),
    error_file_id VARCHAR(64),
    output_expires_after_s INTEGER,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    in_progress_at INTEGER,
    finalizing_at INTEGER,
    completed_at INTEGER,
    failed_at INTEGER,
    expired_at INTEGER,
    cancelling_at INTEGER,
    cancelled_at INTEGER,
    request_counts JSON NOT NULL,
    usage JSON,
    metadata JSON,
    owner VARCHAR(64),
    lease_until FLOAT,
    project VARCHAR(64) DEFAULT 'default' NOT NULL,
    PRIMARY KEY (seq),
    UNIQUE (id)
);
INSERT INTO "batches" VALUES(1,'batch-of-version-3','/v1/chat/completions',NULL,NULL,'file-of-version-3','24h','validating',NULL,NULL,NULL,1795962635,1796049035,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'{"total": 0, "completed": 0, "failed": 0}',NULL,NULL,'runner-of-version-3',1.79596266564127564433e+09,'default');
CREATE TABLE checkpoints (
    seq INTEGER NOT NULL,
    id VARCHAR(64) NOT NULL,
    job_id VARCHAR(64) NOT NULL,
    model TEXT NOT NULL,
    step INTEGER NOT NULL,
    metrics JSON NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (seq),
    UNIQUE (job_id, step),
    UNIQUE (id),
    FOREIGN KEY(job_id) REFERENCES jobs (id)
);
INSERT INTO "checkpoints" VALUES(1,'ftckpt_6XJyh4RQiX4kZw8iihn43Ude','ftjob-of-version-3','ft:gpt-4o-mini-2024-07-18:personal::00000001',1,'{"step": 1}',1795962635);
CREATE TABLE checksums (
    path TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    sha256 VARCHAR(64) NOT NULL,
    PRIMARY KEY (path)
);
CREATE TABLE completions (
    seq INTEGER NOT NULL,
    id VARCHAR(64) NOT NULL,
    model TEXT NOT NULL,
    metadata JSON NOT NULL,
    completion JSON NOT NULL,
    messages JSON NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    project VARCHAR(64) DEFAULT 'default' NOT NULL,
    PRIMARY KEY (seq),
    UNIQUE (id)
);
CREATE TABLE evaluations (
    seq INTEGER NOT NULL,
    id VARCHAR(64) NOT NULL,
    model TEXT NOT NULL,
    status VARCHAR(16) NOT NULL,
    validation_file VARCHAR(64),
    filename TEXT,
    against JSON NOT NULL,
    functions INTEGER NOT NULL,
    definitions JSON NOT NULL,
    "limit" INTEGER,
    max_tokens INTEGER,
    created_at INTEGER NOT NULL,
    finished_at INTEGER,
    done INTEGER NOT NULL,
    total INTEGER NOT NULL,
    error JSON,
    headline JSON,
    report JSON,
    project VARCHAR(64) DEFAULT 'default' NOT NULL, owner VARCHAR(64), lease_until FLOAT, attempts INTEGER DEFAULT '0' NOT NULL,
    PRIMARY KEY (seq),
    UNIQUE (id)
);
INSERT INTO "evaluations" VALUES(1,'evaluation-of-version-3','gpt-4o-mini','running','file-of-version-3','a.jsonl','[]',0,'["full"]',NULL,NULL,1795962635,NULL,0,0,NULL,NULL,NULL,'default',NULL,NULL,0);
CREATE TABLE events (
    seq INTEGER NOT NULL,
    id VARCHAR(64) NOT NULL,
    job_id VARCHAR(64) NOT NULL,
    created_at INTEGER NOT NULL,
    level VARCHAR(8) NOT NULL,
    type VARCHAR(16) NOT NULL,
    message TEXT NOT NULL,
    data JSON,
    step INTEGER,
    PRIMARY KEY (seq),
    UNIQUE (job_id, step),
    UNIQUE (id),
    FOREIGN KEY(job_id) REFERENCES jobs (id)
);
INSERT INTO "events" VALUES(1,'ftevent-9PysUZyz2wZBIC04fGEb4eZ3','ftjob-of-version-3',1795962635,'info','message','Created fine-tuning job: ftjob-of-version-3','null',NULL);
INSERT INTO "events" VALUES(2,'ftevent-9sO4YrTF9xTMI8gM4IKpGnpz','ftjob-of-version-3',1795962635,'info','message','made','null',NULL);
CREATE TABLE files (
    seq INTEGER NOT NULL,
    id VARCHAR(64) NOT NULL,
    filename TEXT NOT NULL,
    purpose VARCHAR(32) NOT NULL,
    bytes INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    project VARCHAR(64) DEFAULT 'default' NOT NULL,
    PRIMARY KEY (seq),
    UNIQUE (id)
);
INSERT INTO "files" VALUES(1,'file-of-version-3','a.jsonl','fine-tune',1,1795962635,NULL,'default');
CREATE TABLE idempotency_reservations (
    "key" VARCHAR(64) NOT NULL,
    request_digest VARCHAR(64) NOT NULL,
    seed VARCHAR(64) NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY ("key")
);
CREATE TABLE imported_files (
    id VARCHAR(64) NOT NULL,
    source TEXT NOT NULL,
    imported_at INTEGER NOT NULL,
    PRIMARY KEY (id)
);
CREATE TABLE jobs (
    seq INTEGER NOT NULL,
    id VARCHAR(64) NOT NULL,
    status VARCHAR(32) NOT NULL,
    model TEXT NOT NULL,
    base TEXT NOT NULL,
    parent TEXT,
    training_file VARCHAR(64) NOT NULL,
    validation_file VARCHAR(64),
    suffix VARCHAR(64),
    seed INTEGER NOT NULL,
    method JSON NOT NULL,
    integrations JSON NOT NULL,
    metadata JSON,
    created_at INTEGER NOT NULL,
    finished_at INTEGER,
    estimated_finish INTEGER,
    fine_tuned_model TEXT,
    trained_tokens INTEGER,
    result_files JSON NOT NULL,
    error JSON,
    owner VARCHAR(64),
    lease_until FLOAT,
    attempts INTEGER NOT NULL,
    project VARCHAR(64) DEFAULT 'default' NOT NULL,
    PRIMARY KEY (seq),
    UNIQUE (id)
);
INSERT INTO "jobs" VALUES(1,'ftjob-of-version-3','validating_files','gpt-4o-mini-2024-07-18','tiny',NULL,'file-1',NULL,NULL,1,'{"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": "auto"}}}','[]','{"team": "a"}',1795962635,NULL,NULL,NULL,NULL,'[]',NULL,NULL,NULL,0,'default');
CREATE TABLE models (
    seq INTEGER NOT NULL,
    id TEXT NOT NULL,
    job_id VARCHAR(64) NOT NULL,
    base TEXT NOT NULL,
    root TEXT NOT NULL,
    adapter VARCHAR(64) NOT NULL,
    call_form VARCHAR(16),
    created_at INTEGER NOT NULL,
    project VARCHAR(64) DEFAULT 'default' NOT NULL,
    PRIMARY KEY (seq),
    UNIQUE (id),
    FOREIGN KEY(job_id) REFERENCES jobs (id)
);
INSERT INTO "models" VALUES(1,'ft:gpt-4o-mini-2024-07-18:personal::00000001','ftjob-of-version-3','tiny','gpt-4o-mini-2024-07-18','ftjob-of-version-3-step-1',NULL,1795962635,'default');
CREATE TABLE permissions (
    seq INTEGER NOT NULL,
    id VARCHAR(64) NOT NULL,
    model TEXT NOT NULL,
    project VARCHAR(64) NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (seq),
    UNIQUE (model, project),
    UNIQUE (id),
    FOREIGN KEY(model) REFERENCES models (id) ON DELETE CASCADE
);
CREATE TABLE replays (
    seq INTEGER NOT NULL,
    "key" VARCHAR(64) NOT NULL,
    asked VARCHAR(64) NOT NULL,
    status INTEGER NOT NULL,
    headers JSON NOT NULL,
    body BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (seq),
    UNIQUE ("key")
);
CREATE TABLE schema (
    version INTEGER NOT NULL
);
INSERT INTO "schema" VALUES(3);
CREATE TABLE upload_parts (
    seq INTEGER NOT NULL,
    id VARCHAR(64) NOT NULL,
    upload_id VARCHAR(64) NOT NULL,
    bytes INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (seq),
    UNIQUE (id),
    FOREIGN KEY(upload_id) REFERENCES uploads (id)
);
CREATE TABLE uploads (
    seq INTEGER NOT NULL,
    id VARCHAR(64) NOT NULL,
    filename TEXT NOT NULL,
    purpose VARCHAR(32) NOT NULL,
    bytes INTEGER NOT NULL,
    file_expires_after_s INTEGER,
    status VARCHAR(16) NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    part_ids JSON,
    file JSON,
    project VARCHAR(64) DEFAULT 'default' NOT NULL,
    PRIMARY KEY (seq),
    UNIQUE (id)
);
CREATE INDEX ix_jobs_status ON jobs (status);
CREATE INDEX ix_batches_status ON batches (status);
CREATE INDEX ix_evaluations_model ON evaluations (model);
CREATE INDEX ix_evaluations_status ON evaluations (status);
CREATE INDEX ix_completions_model ON completions (model);
CREATE INDEX events_by_job ON events (job_id, seq);
CREATE INDEX ix_upload_parts_upload_id ON upload_parts (upload_id);
COMMIT;
