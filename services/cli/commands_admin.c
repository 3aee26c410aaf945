// Options and arguments of the operators' commands.
#include "commands_admin.h"

const cli_positional cli_admin_account_create[] = {{.name = "name", .place = CLI_BODY, .help = "the account's name"},
                                                   {0}};
const cli_positional cli_admin_topup[] = {
    {.name = "account", .place = CLI_PATH, .help = "the account's id or name", .ref = CLI_REF_ACCOUNT},
    {.name = "amount", .place = CLI_BODY, .help = "dollars", .kind = CLI_MONEY},
    {0}};
const cli_positional cli_admin_correction[] = {
    {.name = "account", .place = CLI_PATH, .help = "the account's id or name", .ref = CLI_REF_ACCOUNT},
    {.name = "amount", .place = CLI_BODY, .help = "dollars, negative to take away", .kind = CLI_MONEY},
    {0}};
const cli_positional cli_admin_id[] = {{.name = "id", .place = CLI_PATH, .help = "its id"}, {0}};
const cli_positional cli_admin_name_body[] = {{.name = "name", .place = CLI_BODY, .help = "its name"}, {0}};
const cli_positional cli_admin_name_path[] = {{.name = "name", .place = CLI_PATH, .help = "its name"}, {0}};
const cli_positional cli_admin_instance[] = {
    {.name = "id", .place = CLI_PATH, .help = "the instance: 142 or my-llama:142", .ref = CLI_REF_INSTANCE}, {0}};

const cli_option cli_admin_paged[] = {
    {.name = "limit", .letter = 'n', .kind = CLI_INT, .value = "N", .help = "how many rows (default 100)"},
    {.name = "all", .kind = CLI_FLAG, .help = "every row, page by page"},
    {.name = "cursor", .kind = CLI_TEXT, .value = "CURSOR", .help = "go on where an earlier list ended"},
    CLI_OPTION_END,
};
const cli_option cli_admin_account_options[] = {
    {.name = "owner-email",
     .kind = CLI_TEXT,
     .place = CLI_BODY,
     .value = "EMAIL",
     .help = "its owner",
     .required = true},
    CLI_OPTION_END,
};
const cli_option cli_admin_topup_options[] = {
    {.name = "description", .kind = CLI_TEXT, .place = CLI_BODY, .value = "TEXT", .help = "for the ledger's row"},
    CLI_OPTION_END,
};
const cli_option cli_admin_correction_options[] = {
    {.name = "reason",
     .kind = CLI_TEXT,
     .place = CLI_BODY,
     .value = "TEXT",
     .help = "for the ledger's row",
     .required = true},
    CLI_OPTION_END,
};
const cli_option cli_admin_region_options[] = {
    {.name = "driver",
     .kind = CLI_TEXT,
     .place = CLI_BODY,
     .value = "DRIVER",
     .help = "process or kubernetes",
     .words = "process,kubernetes"},
    {.name = "gpu",
     .kind = CLI_ROOM,
     .place = CLI_BODY,
     .field = "gpus",
     .value = "TYPE=COUNT",
     .help = "GPUs of a type in it; may be repeated"},
    {.name = "cordoned", .kind = CLI_FLAG, .place = CLI_BODY, .help = "place nothing new there"},
    {.name = "lost",
     .kind = CLI_FLAG,
     .place = CLI_BODY,
     .help = "it will not come back: give up its replicas, start them elsewhere; the next put takes it back"},
    {.name = "kubernetes",
     .kind = CLI_JSON,
     .place = CLI_BODY,
     .value = "FILE",
     .help = "file with its configuration as JSON, for the driver kubernetes; - reads standard input"},
    {.name = "confirm-prune",
     .kind = CLI_FLAG,
     .place = CLI_BODY,
     .help = "only allow the removal of objects without a row, which status_detail asks for"},
    CLI_OPTION_END,
};
const cli_option cli_admin_gpu_options[] = {
    {.name = "hourly-rate",
     .kind = CLI_MONEY,
     .place = CLI_BODY,
     .value = "USD",
     .help = "price of one GPU for an hour",
     .required = true},
    {.name = "memory-gb", .kind = CLI_INT, .place = CLI_BODY, .value = "GB", .help = "memory of one GPU"},
    {.name = "description", .kind = CLI_TEXT, .place = CLI_BODY, .value = "TEXT", .help = "for people"},
    CLI_OPTION_END,
};
const cli_option cli_admin_platform_options[] = {
    {.name = "repo",
     .kind = CLI_TEXT,
     .place = CLI_BODY,
     .value = "ORG/NAME",
     .help = "Hugging Face repository",
     .required = true},
    {.name = "revision",
     .kind = CLI_TEXT,
     .place = CLI_BODY,
     .value = "REV",
     .help = "branch, tag or commit (default main)"},
    {.name = "category",
     .kind = CLI_TEXT,
     .place = CLI_BODY,
     .value = "WORD",
     .help = "chat, embedding, reranker, image, audio or video",
     .words = "chat,embedding,reranker,image,audio,video"},
    {.name = "description", .kind = CLI_TEXT, .place = CLI_BODY, .value = "TEXT", .help = "for people"},
    CLI_OPTION_END,
};
