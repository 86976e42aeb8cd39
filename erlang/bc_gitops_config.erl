%%% @doc The configuration: what the keys are, what they default to, and whether a value is good.
%%%
%%% `load/1' lays a map over the application environment over the defaults and names every bad value
%%% at once. `current/0' is what the running reconciler uses. Paths and urls are binaries. Secrets
%%% are never values of this configuration: only the names of files and variables that hold them.
-module(bc_gitops_config).

-export([public_url/1, repo_url/1]).
-export([load/1, current/0, activate/1, deactivate/0, keys/0]).
-export([format_error/1]).

-export_type([config/0, problem/0]).

-type config() :: #{atom() => term()}.
-type problem() :: #{key := atom(), got := term(), expected := binary()}.
-type kind() ::
    text | texts | variables | url | path | paths | subdir | branch | module | positive | limit | interval | boolean
    | {one_of, [atom()]} | hex_repos | hex_mirror | content_stores.

-define(ACTIVE, {?MODULE, active}).
-define(GIB, (1024 * 1024 * 1024)).

%% Key, kind, default (`undefined': not set; a fun is called for it). The README's table follows this.
-spec table() -> [{atom(), kind(), term()}].
table() ->
    [
        {repo_url, url, undefined},
        {local_path, path, <<"/var/lib/bc_gitops">>},
        {branch, branch, <<"main">>},
        {apps_dir, subdir, <<"apps">>},
        {reconcile_interval, interval, 60000},
        {runtime_module, module, bc_gitops_runtime_default},
        {cookie, text, undefined},
        {node_prefix, text, undefined},
        {workspace_path, path, undefined},
        {state_path, path, undefined},
        {git_timeout, positive, 120000},
        {git_username, text, undefined},
        {git_ssh_key, path, undefined},
        {git_ssh_passphrase_file, path, undefined},
        {git_known_hosts, path, undefined},
        {git_token_file, path, undefined},
        {git_token_env, text, undefined},
        {git_ca_file, path, undefined},
        {git_auth_hosts, texts, undefined},
        {allow_http, boolean, false},
        {allow_local_sources, boolean, false},
        {allow_unverified_releases, boolean, false},
        {hex_repos, hex_repos, undefined},
        {hex_mirror, hex_mirror, undefined},
        {content_stores, content_stores, []},
        {build_timeout, positive, 600000},
        {build_jobs, positive, 2},
        {build_memory, positive, 8 * ?GIB},
        {build_disk, positive, 8 * ?GIB},
        {build_processes, positive, 512},
        {build_sandbox, {one_of, [auto, required, off]}, auto},
        {build_env, variables, undefined},
        {build_read, paths, undefined},
        {max_builds_kept, positive, 3},
        {max_store_size, limit, 10 * ?GIB},
        {stop_timeout, positive, 10000},
        {start_timeout, positive, 60000},
        {retry_min, positive, 5000},
        {retry_max, positive, 600000}
    ].

%% @doc The keys that are known.
-spec keys() -> [atom()].
keys() ->
    [Key || {Key, _Kind, _Default} <- table()].

%% @doc The map over the application environment over the defaults. Keys that are not ours pass by
%% unseen: an application environment may hold what others put there.
-spec load(map()) -> {ok, config()} | {error, {bad_config, [problem()]}}.
load(Map) when is_map(Map) ->
    Given = maps:merge(maps:from_list(application:get_all_env(bc_gitops)), Map),
    {Config, Problems} = lists:foldl(
        fun(Row, Acc) -> take(Row, Given, Acc) end, {#{}, []}, table()
    ),
    case Problems of
        [] -> {ok, derive(Config)};
        _ -> {error, {bad_config, lists:reverse(Problems)}}
    end.

%% @doc The configuration in use: the running reconciler's, else that of the application
%% environment, in which a bad value counts as not set (starting a reconciler names it).
-spec current() -> config().
current() ->
    case persistent_term:get(?ACTIVE, undefined) of
        undefined ->
            Given = maps:from_list(application:get_all_env(bc_gitops)),
            Take = fun(Row, Acc) -> take(Row, Given, Acc) end,
            {Config, _Problems} = lists:foldl(Take, {#{}, []}, table()),
            derive(Config);
        Config ->
            Config
    end.

%% @doc The repository's url with the user and password that may stand in it. `repo_url' of the
%% configuration has neither, so that no state of a process and no table holds them.
-spec repo_url(config()) -> binary() | undefined.
repo_url(#{repo_url := Url, repo_secret := undefined}) -> Url;
repo_url(#{repo_secret := Secret}) -> Secret().

%% @doc A url without user and password.
-spec public_url(binary() | undefined) -> binary() | undefined.
public_url(undefined) ->
    undefined;
public_url(Url) ->
    %% scp-like urls and paths have no "//user@" part, or no secret in it
    re:replace(Url, "^([a-zA-Z][a-zA-Z0-9+.-]*://)[^/]*@", "\\1", [{return, binary}]).

%% @doc Makes Config the one that `current/0' answers.
-spec activate(config()) -> ok.
activate(Config) ->
    persistent_term:put(?ACTIVE, Config).

%% @doc Goes back to the application environment.
-spec deactivate() -> ok.
deactivate() ->
    _ = persistent_term:erase(?ACTIVE),
    ok.

%% @doc One sentence for each bad value.
-spec format_error({bad_config, [problem()]}) -> binary().
format_error({bad_config, Problems}) ->
    Lines = [
        io_lib:format("bc_gitops: ~ts is ~0tP, expected ~ts", [Key, Got, 20, Expected])
     || #{key := Key, got := Got, expected := Expected} <- Problems
    ],
    unicode:characters_to_binary(lists:join("\n", Lines)).

take({Key, Kind, Default}, Given, {Config, Problems}) ->
    case maps:get(Key, Given, undefined) of
        undefined ->
            {Config#{Key => Default}, Problems};
        Value ->
            case check(Kind, Value) of
                {ok, Good} -> {Config#{Key => Good}, Problems};
                {error, Expected} -> {Config#{Key => Default}, [problem(Key, Value, Expected) | Problems]}
            end
    end.

%% A url may carry a password, and so may what was written behind a variable: it is never repeated.
problem(Key, _Value, Expected) when Key =:= repo_url; Key =:= hex_repos; Key =:= hex_mirror;
                                    Key =:= content_stores; Key =:= build_env ->
    #{key => Key, got => '...', expected => Expected};
problem(Key, Value, Expected) ->
    #{key => Key, got => Value, expected => Expected}.

-spec check(kind(), term()) -> {ok, term()} | {error, binary()}.
check(text, Value) -> text(Value, fun(_) -> true end, <<"a non-empty string">>);
check(texts, Value) -> texts(Value);
check(variables, Value) -> variables(Value);
check(url, Value) -> text(Value, fun is_url/1, <<"the url or the path of a git repository">>);
check(path, Value) -> path(Value);
check(paths, Value) -> paths(Value);
check({one_of, Names}, Value) -> one_of(Names, Value);
check(subdir, Value) -> text(Value, fun is_subdir/1, <<"a relative path without '..'">>);
check(branch, Value) -> text(Value, fun is_branch/1, <<"the name of a branch">>);
check(module, Value) -> module(Value);
check(positive, Value) when is_integer(Value), Value > 0 -> {ok, Value};
check(positive, _Value) -> {error, <<"a positive integer">>};
check(limit, infinity) -> {ok, infinity};
check(limit, Value) when is_integer(Value), Value > 0 -> {ok, Value};
check(limit, _Value) -> {error, <<"a positive number of bytes, or infinity">>};
check(interval, infinity) -> {ok, infinity};
check(interval, Value) when is_integer(Value), Value > 0, Value < 1 bsl 32 -> {ok, Value};
check(interval, _Value) -> {error, <<"a positive number of milliseconds, or infinity">>};
check(boolean, Value) when is_boolean(Value) -> {ok, Value};
check(boolean, _Value) -> {error, <<"true or false">>};
check(hex_repos, Value) -> bc_gitops_config_hex:repos(Value);
check(hex_mirror, Value) -> bc_gitops_config_hex:mirror(Value);
check(content_stores, Value) -> bc_gitops_config_content:stores(Value).

text(Value, IsGood, Expected) ->
    case to_binary(Value) of
        {ok, Text} when Text =/= <<>> ->
            case is_printable(Text) andalso IsGood(Text) of
                true -> {ok, Text};
                false -> {error, Expected}
            end;
        _ ->
            {error, Expected}
    end.

texts([First | _] = Values) when not is_integer(First) ->
    Checked = [check(text, Value) || Value <- Values],
    case [Text || {ok, Text} <- Checked] of
        Texts when length(Texts) =:= length(Checked) -> {ok, Texts};
        _ -> {error, <<"a list of strings">>}
    end;
texts(_Value) ->
    {error, <<"a list of strings">>}.

variables(Value) ->
    IsName = fun(Text) -> re:run(Text, "\\A[A-Za-z_][A-Za-z0-9_]*\\z") =/= nomatch end,
    Expected = <<"a list of names of environment variables, without their values">>,
    case texts(Value) of
        {ok, Texts} ->
            case lists:all(IsName, Texts) of
                true -> {ok, Texts};
                false -> {error, Expected}
            end;
        {error, _} ->
            {error, Expected}
    end.

path(Value) ->
    case text(Value, fun(_) -> true end, <<"a path">>) of
        {ok, Path} -> {ok, unicode:characters_to_binary(filename:absname(Path))};
        {error, Expected} -> {error, Expected}
    end.

paths(Value) ->
    case texts(Value) of
        {ok, Texts} -> {ok, [Path || Text <- Texts, {ok, Path} <- [path(Text)]]};
        {error, _} -> {error, <<"a list of paths">>}
    end.

one_of(Names, Value) ->
    Text = case to_binary(Value) of
        {ok, Given} -> Given;
        error -> <<>>
    end,
    case [Name || Name <- Names, atom_to_binary(Name) =:= Text] of
        [Name] -> {ok, Name};
        [] -> {error, iolist_to_binary(lists:join(" or ", [atom_to_list(Name) || Name <- Names]))}
    end.

module(Value) when is_atom(Value), Value =/= true, Value =/= false -> {ok, Value};
module(_Value) -> {error, <<"the name of a module">>}.

to_binary(Value) when is_binary(Value) -> {ok, Value};
to_binary(Value) when is_boolean(Value) -> error;
to_binary(Value) when is_atom(Value) -> {ok, atom_to_binary(Value)};
to_binary(Value) when is_list(Value) ->
    try unicode:characters_to_binary(Value) of
        Text when is_binary(Text) -> {ok, Text};
        _ -> error
    catch
        error:badarg -> error
    end;
to_binary(_Value) -> error.

is_printable(Text) ->
    case unicode:characters_to_list(Text) of
        Chars when is_list(Chars) -> lists:all(fun(C) -> C >= 32 andalso C =/= 127 end, Chars);
        _ -> false
    end.

is_url(<<"-", _/binary>>) -> false;
is_url(Text) -> binary:match(Text, [<<" ">>, <<"ext::">>, <<"fd::">>]) =:= nomatch.

is_subdir(Text) ->
    filename:pathtype(Text) =:= relative andalso
        not lists:member(<<"..">>, filename:split(Text)) andalso
        binary:first(Text) =/= $-.

%% The grammar of git-check-ref-format(1), as far as a branch can break it.
is_branch(Text) ->
    re:run(Text, "^-|^/|/$|//|\\.\\.|@\\{|[ ~^:?*\\[\\\\]|^@$|\\.$|(^|/)\\.|\\.lock(/|$)") =:= nomatch.

%% What follows from other values: private directories of the user that runs the node.
derive(#{state_path := State, workspace_path := Workspace, repo_url := Url} = Config) ->
    Public = public_url(Url),
    Config#{
        repo_url := Public,
        repo_secret => case Public of Url -> undefined; _ -> fun() -> Url end end,
        state_path := default_dir(State, user_data, <<"state">>, Config),
        workspace_path := default_dir(Workspace, user_cache, <<"workspace">>, Config)
    }.

default_dir(undefined, Type, Leaf, #{local_path := LocalPath}) ->
    case os:getenv("HOME") of
        Home when Home =:= false; Home =:= "" ->
            %% filename:basedir/2 crashes without HOME
            <<LocalPath/binary, "-", Leaf/binary>>;
        _ ->
            Base = unicode:characters_to_binary(filename:basedir(Type, "bc_gitops")),
            filename:join(Base, Leaf)
    end;
default_dir(Path, _Type, _Leaf, _Config) ->
    Path.
