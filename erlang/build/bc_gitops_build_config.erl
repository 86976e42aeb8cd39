%%% @doc The settings of builds, each with its default; the one place of this room that asks for
%%% configuration.
-module(bc_gitops_build_config).

-include("bc_gitops.hrl").

-export([workspace_path/0, build_timeout/0, build_jobs/0, builds_kept/0, memory/0, passed_variables/0]).
-export([git_request/1]).

-define(BUILD_TIMEOUT, 600000).
-define(GIT_TIMEOUT, 120000).
-define(BUILD_JOBS, 2).
-define(BUILDS_KEPT, 3).
%% What a package client needs to reach its registry and says no secret.
-define(PASSED, ["HEX_CDN", "HEX_MIRROR", "HEX_CACERTS_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR"]).

%% @doc Where sources are built and builds are kept.
-spec workspace_path() -> binary().
workspace_path() ->
    case setting(workspace_path, undefined) of
        undefined -> default_path();
        Path -> unicode:characters_to_binary(Path)
    end.

%% @doc How long fetching and building one application may take, in milliseconds.
-spec build_timeout() -> pos_integer().
build_timeout() ->
    setting(build_timeout, ?BUILD_TIMEOUT).

%% @doc How many builds may run at once.
-spec build_jobs() -> pos_integer().
build_jobs() ->
    setting(build_jobs, ?BUILD_JOBS).

%% @doc How many builds of an application stay in the store besides those in use.
-spec builds_kept() -> pos_integer().
builds_kept() ->
    setting(max_builds_kept, ?BUILDS_KEPT).

%% @doc The address space of each process of a build in bytes, or no limit.
-spec memory() -> pos_integer() | undefined.
memory() ->
    setting(build_memory, undefined).

%% @doc The environment variables that builds get to see besides those that are set for them.
-spec passed_variables() -> [string()].
passed_variables() ->
    ?PASSED ++ [unicode:characters_to_list(Name) || Name <- setting(build_env, [])].

%% @doc What a request to the git library says of access: credentials, limits and which places code
%% may come from. `allow_local' in the options decides for this one call.
-spec git_request(#{allow_local => boolean(), _ => _}) -> map().
git_request(Options) ->
    Auth = setting(git_auth, #{}),
    #{
        timeout => setting(git_timeout, ?GIT_TIMEOUT),
        auth => Auth#{
            allow_http => setting(allow_http, false),
            allow_local => maps:get(allow_local, Options, local_sources())
        }
    }.

%% Code may come from the local disk when the repository that names it does, or when it is said so.
local_sources() ->
    setting(allow_local_sources, false) orelse is_local(setting(repo_url, undefined)).

is_local(undefined) -> false;
is_local(<<"file://", _/binary>>) -> true;
is_local(<<"/", _/binary>>) -> true;
is_local(Url) when is_binary(Url) -> false;
is_local(Url) -> is_local(unicode:characters_to_binary(Url)).

setting(Key, Default) ->
    application:get_env(bc_gitops, Key, Default).

%% A user without a home directory has no cache directory either.
default_path() ->
    case os:getenv("HOME") of
        false -> <<"/var/lib/bc_gitops/workspace">>;
        _ -> unicode:characters_to_binary(filename:basedir(user_cache, "bc_gitops"))
    end.
