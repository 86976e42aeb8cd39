%%% @doc The settings of builds; the one place of this room that asks for configuration.
-module(bc_gitops_build_config).

-export([workspace_path/0, build_timeout/0, build_jobs/0, builds_kept/0, memory/0]).
-export([passed_variables/0]).

%% What a package client needs to reach its registry and says no secret.
-define(PASSED, ["HEX_CDN", "HEX_MIRROR", "HEX_CACERTS_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR"]).

%% @doc Where sources are built and builds are kept.
-spec workspace_path() -> binary().
workspace_path() ->
    setting(workspace_path).

%% @doc How long fetching and building one application may take, in milliseconds.
-spec build_timeout() -> pos_integer().
build_timeout() ->
    setting(build_timeout).

%% @doc How many builds may run at once.
-spec build_jobs() -> pos_integer().
build_jobs() ->
    setting(build_jobs).

%% @doc How many builds of an application stay in the store besides those in use.
-spec builds_kept() -> pos_integer().
builds_kept() ->
    setting(max_builds_kept).

%% @doc The address space of each process of a build in bytes, or no limit (`build_memory').
-spec memory() -> pos_integer() | undefined.
memory() ->
    setting(build_memory).

%% @doc The environment variables of this VM that builds get to see; `build_env' names more.
-spec passed_variables() -> [string()].
passed_variables() ->
    case setting(build_env) of
        undefined -> ?PASSED;
        Names -> ?PASSED ++ [unicode:characters_to_list(Name) || Name <- Names]
    end.

setting(Key) ->
    maps:get(Key, bc_gitops_config:current()).
