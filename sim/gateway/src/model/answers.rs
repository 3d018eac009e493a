//! Payloads of answers that never change: what an idle gateway with an empty configuration says.

/// `status`.
pub(super) const STATUS: &str = concat!(
    r#"{"runtimeVersion":"2026.9.1","hostDesktop":{"enabled":false,"state":"disabled","port":5900},"#,
    r#""heartbeat":{"defaultAgentId":"main","agents":[{"agentId":"main","enabled":true,"every":"30m","#,
    r#""everyMs":1800000,"waitingForRoute":true}]},"channelSummary":[],"queuedSystemEvents":[],"#,
    r#""degradedSecretOwners":[],"degradedPlugins":[],"tasks":{"total":0,"active":0,"terminal":0,"failures":0,"#,
    r#""byStatus":{"queued":0,"running":0,"succeeded":0,"failed":0,"timed_out":0,"cancelled":0,"lost":0},"#,
    r#""byRuntime":{"subagent":0,"acp":0,"cli":0,"cron":0}},"taskAudit":{"total":0,"warnings":0,"errors":0,"#,
    r#""byCode":{"stale_queued":0,"stale_running":0,"lost":0,"delivery_failed":0,"missing_cleanup":0,"#,
    r#""inconsistent_timestamps":0}},"sessions":{"paths":["/sim/sessions.json"],"count":0,"#,
    r#""defaults":{"model":"simulated","contextTokens":272000},"recent":[],"byAgent":[]},"#,
    r#""eventLoop":{"degraded":false,"degradedSinceMs":null,"reasons":[],"intervalMs":1000,"delayP99Ms":22,"#,
    r#""delayMaxMs":36,"utilization":0.022,"cpuCoreRatio":0.015},"#,
    r#""processMemory":{"rssBytes":400000000,"heapUsedBytes":250000000,"heapTotalBytes":290000000}}"#,
);

/// `config.get`.
pub(super) const CONFIG: &str = concat!(
    r#"{"path":"/sim/openclaw.json","includedPaths":[],"exists":false,"raw":null,"parsed":{},"#,
    r#""sourceConfig":{"agents":{"entries":{"main":{}}}},"resolved":{"agents":{"entries":{"main":{}}}},"valid":true,"#,
    r#""runtimeConfig":{"agents":{"entries":{"main":{}}}},"config":{"agents":{"entries":{"main":{}}}},"#,
    r#""hash":"hmac-sha256:v1:simulated","issues":[],"warnings":[],"legacyIssues":[],"#,
    r#""configRevisionHash":"hmac-sha256:v1:simulated","appliedConfigHash":"hmac-sha256:v1:simulated"}"#,
);

/// `gateway.restart.request`.
pub(super) const RESTART_SCHEDULED: &str = concat!(
    r#"{"ok":true,"status":"scheduled","preflight":{"safe":true,"counts":{"queueSize":0,"pendingReplies":0,"#,
    r#""embeddedRuns":0,"cronRuns":0,"backgroundExecSessions":0,"rootRequests":0,"activeTasks":0,"totalActive":0},"#,
    r#""blockers":[],"summary":"safe to restart now"},"restart":{"ok":true,"pid":1,"signal":"SIGUSR1","#,
    r#""reason":"requested","mode":"emit","cooldownMsApplied":0,"delayMs":0,"coalesced":false,"#,
    r#""emitHooksQueued":false}}"#,
);

/// `gateway.identity.get`: the gateway's own device.
pub(super) const IDENTITY: &str = concat!(
    r#"{"deviceId":"20924cfcba670e67155ece9f3115577db9f73886a7eb1c4345932ffa37794c1c","#,
    r#""publicKey":"gUGgwLQP1ttzxp9aj4dIaHuxFeCOVycV1PyP-7yxW5Q"}"#,
);

/// Methods that have nothing to say.
pub(super) const OK: &str = r#"{"ok":true}"#;

/// `chat.abort`; the model's runs cannot be aborted.
pub(super) const NOTHING_ABORTED: &str = r#"{"ok":true,"aborted":false,"runIds":[]}"#;
