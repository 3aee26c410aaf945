// The columns of everything the API answers with.
#include "view.h"

const cli_view cli_view_models = {
    .empty = "No models yet. Register one: ecolink models create <name> --repo org/name",
    .columns = {{"ID", "id", CLI_AS_TEXT, false},
                {"NAME", "name", CLI_AS_TEXT, false},
                {"SOURCE", "source", CLI_AS_TEXT, false},
                {"CATEGORY", "category", CLI_AS_TEXT, false},
                {"REPO", "repo", CLI_AS_TEXT, false},
                {"REVISION", "revision", CLI_AS_TEXT, true},
                {"FILESYSTEM", "filesystem_id", CLI_AS_TEXT, true},
                {"PATH", "path", CLI_AS_TEXT, true},
                {"HF TOKEN", "has_hf_token", CLI_AS_BOOL, true},
                {"LIVE", "live_instances", CLI_AS_NUMBER, false},
                {"CREATED", "created_at", CLI_AS_AGE, false}},
};

const cli_view cli_view_filesystems = {
    .empty = "No shared filesystems yet. Add one: ecolink filesystems create <name> --region <region>",
    .columns = {{"ID", "id", CLI_AS_TEXT, false},
                {"NAME", "name", CLI_AS_TEXT, false},
                {"REGION", "region", CLI_AS_TEXT, false},
                {"MOUNT PATH", "mount_path", CLI_AS_TEXT, false},
                {"CREATED", "created_at", CLI_AS_AGE, false}},
};

const cli_view cli_view_instances = {
    .empty = "No instances here. Start one: ecolink launch <model>",
    .columns = {{"ID", "id", CLI_AS_NUMBER, false},
                {"NAME", "name", CLI_AS_TEXT, true},
                {"MODEL", "model", CLI_AS_TEXT, false},
                {"STATUS", "status", CLI_AS_STATUS, false},
                {"DETAIL", "status_detail", CLI_AS_TEXT, false},
                {"REASON", "termination_reason", CLI_AS_TEXT, true},
                {"READY", NULL, CLI_AS_READY, false},
                {"REPLICAS", "replicas", CLI_AS_REPLICAS, true},
                {"GPU", "gpu_type", CLI_AS_TEXT, false},
                {"GPUS EACH", "gpu_count", CLI_AS_NUMBER, true},
                {"ENGINE", "engine", CLI_AS_TEXT, true},
                {"IMAGE", "image", CLI_AS_TEXT, true},
                {"OPENAI API", "openai_compatible", CLI_AS_BOOL, true},
                {"PROXY URL", "proxy_url", CLI_AS_TEXT, true},
                {"RATE PER GPU", "hourly_rate_micros", CLI_AS_RATE, true},
                {"BURN", "burn_rate_micros_per_hour", CLI_AS_RATE, false},
                {"HOLD", "hold_micros", CLI_AS_USD_MICROS, true},
                {"HOLD ENDS", "hold_expires_at", CLI_AS_AGE, true},
                {"CREATED", "created_at", CLI_AS_AGE, false},
                {"RUNNING", "running_at", CLI_AS_AGE, true},
                {"STOP ASKED", "stop_requested_at", CLI_AS_AGE, true},
                {"STOPPED", "stopped_at", CLI_AS_AGE, true}},
};

const cli_view cli_view_quote = {
    .columns = {{"GPU TYPE", "gpu_type", CLI_AS_TEXT, false},
                {"GPUS EACH", "gpu_count", CLI_AS_NUMBER, false},
                {"REPLICAS", "total_replicas", CLI_AS_NUMBER, false},
                {"REGIONS", "regions", CLI_AS_LIST, false},
                {"RATE PER GPU", "hourly_rate_micros", CLI_AS_RATE, false},
                {"BURN", "burn_rate_micros_per_hour", CLI_AS_RATE, false},
                {"HOLD", "hold", CLI_AS_USD, false}},
};

const cli_view cli_view_events = {
    .empty = "No events yet.",
    .columns = {{"#", "id", CLI_AS_NUMBER, false},
                {"TIME (UTC)", "created_at", CLI_AS_TIME, false},
                {"STATUS", "status", CLI_AS_STATUS, false},
                {"EVENT", "type", CLI_AS_TEXT, false},
                {"REGION", "region", CLI_AS_TEXT, false},
                {"MESSAGE", "message", CLI_AS_TEXT, false}},
};

const cli_view cli_view_keys = {
    .empty = "No API keys here. Make one: ecolink keys create <name>",
    .columns = {{"ID", "id", CLI_AS_TEXT, false},
                {"KEY", "key", CLI_AS_ONCE, true},
                {"NAME", "name", CLI_AS_TEXT, false},
                {"PREFIX", "prefix", CLI_AS_TEXT, false},
                {"ROLE", "role", CLI_AS_TEXT, false},
                {"TAG", "source_tag", CLI_AS_TEXT, true},
                {"LIMIT/MIN", "rate_limit_per_minute", CLI_AS_NUMBER, false},
                {"SPEND CAP", "spend_cap", CLI_AS_USD, true},
                {"LAST USED", "last_used_at", CLI_AS_AGE, false},
                {"EXPIRES", "expires_at", CLI_AS_AGE, false},
                {"REVOKED", "revoked_at", CLI_AS_AGE, false},
                {"CREATED", "created_at", CLI_AS_AGE, true}},
};

const cli_view cli_view_balance = {
    .columns = {{"Available", "available", CLI_AS_USD, false},
                {"Held", "held", CLI_AS_USD, false},
                {"Burn rate", "burn_rate_micros_per_hour", CLI_AS_RATE, false},
                {"Lasts", "runway_seconds", CLI_AS_SPAN, false}},
};

const cli_view cli_view_transactions = {
    .empty = "No transactions yet.",
    .columns = {{"ID", "id", CLI_AS_TEXT, true},
                {"TIME (UTC)", "created_at", CLI_AS_TIME, false},
                {"TYPE", "type", CLI_AS_TEXT, false},
                {"AMOUNT", "amount", CLI_AS_USD, false},
                {"BALANCE", "balance_after", CLI_AS_USD, false},
                {"INSTANCE", "instance_id", CLI_AS_NUMBER, false},
                {"DESCRIPTION", "description", CLI_AS_TEXT, false}},
};

const cli_view cli_view_usage = {
    .empty = "No usage in these days.",
    .columns = {{"DAY", "day", CLI_AS_TEXT, false},
                {"INSTANCE", "instance_id", CLI_AS_NUMBER, false},
                {"KEY", "key_id", CLI_AS_TEXT, false},
                {"REQUESTS", "requests", CLI_AS_NUMBER, false},
                {"ERRORS", "errors", CLI_AS_NUMBER, false},
                {"PROMPT TOKENS", "prompt_tokens", CLI_AS_NUMBER, false},
                {"OUTPUT TOKENS", "completion_tokens", CLI_AS_NUMBER, false},
                {"IN", "bytes_in", CLI_AS_BYTES, false},
                {"OUT", "bytes_out", CLI_AS_BYTES, false},
                {"FIRST BYTE", "mean_time_to_first_byte_us", CLI_AS_MILLIS, false}},
};

const cli_view cli_view_notices = {
    .empty = "No notices.",
    .columns = {{"TIME (UTC)", "created_at", CLI_AS_TIME, false},
                {"SEVERITY", "severity", CLI_AS_SEVERITY, false},
                {"TYPE", "type", CLI_AS_TEXT, false},
                {"INSTANCE", "instance_id", CLI_AS_NUMBER, false},
                {"MESSAGE", "message", CLI_AS_TEXT, false}},
};

const cli_view cli_view_members = {
    .empty = "No members.",
    .columns = {{"ID", "id", CLI_AS_TEXT, false},
                {"EMAIL", "email", CLI_AS_TEXT, false},
                {"ROLE", "role", CLI_AS_TEXT, false},
                {"JOINED", "created_at", CLI_AS_AGE, false}},
};

const cli_view cli_view_invite = {
    .columns = {{"ID", "id", CLI_AS_TEXT, false},
                {"EMAIL", "email", CLI_AS_TEXT, false},
                {"ROLE", "role", CLI_AS_TEXT, false},
                {"LINK", "accept_url", CLI_AS_ONCE, false},
                {"TOKEN", "token", CLI_AS_ONCE, false},
                {"EXPIRES", "expires_at", CLI_AS_AGE, false}},
};

const cli_view cli_view_invite_accepted = {
    .columns = {{"MEMBER", "member.id", CLI_AS_TEXT, false},
                {"ACCOUNT", "member.account_id", CLI_AS_TEXT, false},
                {"ROLE", "member.role", CLI_AS_TEXT, false},
                {"KEY", "api_key.key", CLI_AS_ONCE, false}},
};

const cli_view cli_view_regions = {
    .empty = "No regions yet. An operator adds them: ecolink admin regions put <name>",
    .columns = {{"REGION", "name", CLI_AS_TEXT, false},
                {"STATUS", "status", CLI_AS_STATUS, false},
                {"DRIVER", "driver", CLI_AS_TEXT, false},
                {"GPUS FREE/TOTAL", "gpus", CLI_AS_ROOM, false}},
};

const cli_view cli_view_gpu_types = {
    .empty = "No GPU types yet. An operator adds them: ecolink admin gpu-types put <name>",
    .columns = {{"GPU TYPE", "name", CLI_AS_TEXT, false},
                {"DESCRIPTION", "description", CLI_AS_TEXT, false},
                {"MEMORY GB", "memory_gb", CLI_AS_NUMBER, false},
                {"RATE", "hourly_rate_micros", CLI_AS_RATE, false},
                {"RETIRED", "retired", CLI_AS_BOOL, true}},
};

const cli_view cli_view_platform_models = {
    .empty = "The catalogue is empty.",
    .columns = {{"NAME", "name", CLI_AS_TEXT, false},
                {"CATEGORY", "category", CLI_AS_TEXT, false},
                {"REPO", "repo", CLI_AS_TEXT, false},
                {"REVISION", "revision", CLI_AS_TEXT, true},
                {"DESCRIPTION", "description", CLI_AS_TEXT, false}},
};

const cli_view cli_view_operators = {
    .empty = "No operators yet.",
    .columns = {{"ID", "id", CLI_AS_TEXT, false},
                {"NAME", "name", CLI_AS_TEXT, false},
                {"KEY", "key", CLI_AS_ONCE, true},
                {"CREATED", "created_at", CLI_AS_AGE, false}},
};

const cli_view cli_view_accounts = {
    .empty = "No accounts yet. Add one: ecolink admin accounts create <name> --owner-email <email>",
    .columns = {{"ID", "id", CLI_AS_TEXT, false},
                {"NAME", "name", CLI_AS_TEXT, false},
                {"OWNER", "owner_email", CLI_AS_TEXT, false},
                {"CREATED", "created_at", CLI_AS_AGE, false}},
};

const cli_view cli_view_account_created = {
    .columns = {{"ACCOUNT", "account.id", CLI_AS_TEXT, false},
                {"NAME", "account.name", CLI_AS_TEXT, false},
                {"OWNER", "account.owner_email", CLI_AS_TEXT, false},
                {"OWNER'S KEY", "api_key.key", CLI_AS_ONCE, false}},
};

const cli_view cli_view_corrections = {
    .columns = {{"ID", "id", CLI_AS_TEXT, false},
                {"ACCOUNT", "account_id", CLI_AS_TEXT, false},
                {"AMOUNT", "amount", CLI_AS_USD, false},
                {"REASON", "reason", CLI_AS_TEXT, false},
                {"REQUESTED BY", "requested_by", CLI_AS_TEXT, false},
                {"APPROVED BY", "approved_by", CLI_AS_TEXT, false},
                {"APPROVED", "approved_at", CLI_AS_AGE, false}},
};
