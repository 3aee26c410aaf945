// The commands that are more than one call. Each returns the program's exit code.
#ifndef CLI_RUN_H
#define CLI_RUN_H

struct cli_app;

int cli_run_rest(struct cli_app *app);  // one call, by the row's method, route and view
int cli_run_login(struct cli_app *app);
int cli_run_logout(struct cli_app *app);
int cli_run_launch(struct cli_app *app);
int cli_run_ps(struct cli_app *app);
int cli_run_show(struct cli_app *app);
int cli_run_stop(struct cli_app *app);
int cli_run_restart(struct cli_app *app);
int cli_run_wait(struct cli_app *app);
int cli_run_events(struct cli_app *app);
int cli_run_logs(struct cli_app *app);
int cli_run_chat(struct cli_app *app);
int cli_run_transactions(struct cli_app *app);
int cli_run_help(struct cli_app *app);
int cli_run_completion(struct cli_app *app);
int cli_run_complete(struct cli_app *app);
int cli_run_man(struct cli_app *app);
int cli_run_calls(struct cli_app *app);

#endif
