%%% @doc The settings of builds; the one place of this room that asks for configuration.
-module(bc_gitops_build_config).

-export([workspace_path/0, build_timeout/0, build_jobs/0, builds_kept/0, store_size/0]).
-export([passed_variables/0, passed_environment/0, sandbox/0, limits/1]).
-export([readable/0, own_paths/0, known_hosts/0]).

%% What a package client needs to reach its registry and says no secret.
-define(PASSED, ["HEX_CDN", "HEX_MIRROR", "HEX_CACERTS_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR"]).
%% Tables of open files grow with the limit, so that of a host with millions is not passed on.
-define(OPEN_FILES, 8192).

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

%% @doc How many bytes of builds the store holds, as far as they are not in use.
-spec store_size() -> pos_integer() | infinity.
store_size() ->
    setting(max_store_size).

%% @doc The names of this VM's environment variables that builds get to see; `build_env' names more.
-spec passed_variables() -> [string()].
passed_variables() ->
    lists:usort(?PASSED ++ named_variables()).

%% @doc Those that are set. A url with a password in it is not passed unless it is named.
-spec passed_environment() -> [{string(), string()}].
passed_environment() ->
    Named = named_variables(),
    [{Name, Value} || Name <- passed_variables(), Value <- [os:getenv(Name)], Value =/= false,
                      lists:member(Name, Named) orelse not has_user(Value)].

named_variables() ->
    case setting(build_env) of
        undefined -> [];
        Names -> [unicode:characters_to_list(Name) || Name <- Names]
    end.

has_user(Value) ->
    re:run(Value, "://[^/]*@", [{capture, none}]) =:= match.

%% @doc What `build_sandbox' says.
-spec sandbox() -> auto | required | off.
sandbox() ->
    setting(build_sandbox).

%% @doc What a command of a build may use.
-spec limits(Scratch :: file:filename_all()) -> bc_gitops_command:limits().
limits(Scratch) ->
    #{processes => setting(build_processes), memory => setting(build_memory),
      disk => {setting(build_disk), Scratch}, files => ?OPEN_FILES}.

%% @doc What builds may read besides the system and their tools (`build_read').
-spec readable() -> [file:filename()].
readable() ->
    case setting(build_read) of
        undefined -> [];
        Paths -> [unicode:characters_to_list(Path) || Path <- Paths]
    end.

%% @doc Where this node keeps what is its own, and the files of its secrets.
-spec own_paths() -> [file:filename()].
own_paths() ->
    #{hex_repos := Repos} = Config = maps:remove(git_ca_file, bc_gitops_config:current()),
    Own = [Path || {Key, Path} <- maps:to_list(Config), is_binary(Path), is_own(Key)]
        ++ [File || true <- [is_list(Repos)], #{auth_key_file := File} <- Repos],
    [unicode:characters_to_list(Path) || Path <- Own].

is_own(Key) ->
    re:run(atom_to_list(Key), "_(path|file|key)$", [{capture, none}]) =:= match.

%% @doc The files of host keys for ssh, the first that exists counts.
-spec known_hosts() -> [file:filename()].
known_hosts() ->
    case setting(git_known_hosts) of
        undefined -> [filename:join(os:getenv("HOME", "/nonexistent"), ".ssh/known_hosts")];
        File -> [unicode:characters_to_list(File)]
    end.

setting(Key) ->
    maps:get(Key, bc_gitops_config:current()).
