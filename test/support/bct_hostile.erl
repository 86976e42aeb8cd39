%%% @doc A host with secrets, and applications whose builds go for them.
-module(bct_hostile).
-export([host/1, leave/1, project/3, attacks/1, name/1, tried/1, breaches/1, as_user/1]).

-include("bc_gitops.hrl").

-define(CANARY, "canary-of-the-host").
-define(COOKIE, "cookie-of-the-host").

%% @doc Puts secrets where a host has them, below Dir, starts what can be attacked, and points the
%% configuration there.
host(Dir) ->
    Home = filename:join(Dir, "home"),
    Files = [{Name, filename:join(Dir, Path)} || {Name, Path} <- files() ++ of_the_system()],
    [begin
        ok = filelib:ensure_dir(File),
        ok = file:write_file(File, ?CANARY)
     end || {_, File} <- Files],
    Before = [{Name, os:getenv(Name)} || Name <- ["HOME", "RELEASE_COOKIE", "HEX_API_KEY"]],
    true = os:putenv("HOME", unicode:characters_to_list(Home)),
    [true = os:putenv(Name, ?CANARY) || Name <- ["RELEASE_COOKIE", "HEX_API_KEY"]],
    Config = [{state_path, filename:join(Dir, "state")}, {local_path, filename:join(Dir, "clone")},
              {workspace_path, filename:join(Dir, "workspace")},
              {git_token_file, filename:join(Dir, "etc/token")},
              {git_ssh_key, filename:join(Dir, "etc/deploy_key")}],
    [ok = application:set_env(bc_gitops, Key, Value) || {Key, Value} <- Config],
    Servers = servers(unicode:characters_to_list(Dir)),
    #{dir => Dir, files => Files, before => Before, config => Config, servers => Servers}.

files() ->
    [{cookie, "home/.erlang.cookie"}, {ssh_key, "home/.ssh/id_ed25519"}, {netrc, "home/.netrc"},
     {token, "etc/token"}, {deploy_key, "etc/deploy_key"}, {state, "state/apps"},
     {clone, "clone/.git/config"}, {other_build, "workspace/store/other-1/lib/other/ebin/other.app"},
     {other_scratch, "workspace/scratch/other/1/src/other/secret"},
     {tools_home, "workspace/tools/home/file"}].

%% Who may do so also has one among the system's own.
of_the_system() ->
    File = "/usr/local/etc/bct-hostile-" ++ os:getpid(),
    case file:write_file(File, "") of
        ok -> [{local_etc, File}];
        {error, _} -> []
    end.

%% A node with its port mapper, and a socket of an agent.
servers(Dir) ->
    Port = bct_server:free_port(),
    Number = integer_to_list(Port),
    Epmd = bct_server:start(bct_server:program("epmd", "erlang-base"),
                            ["-port", Number, "-address", "127.0.0.1"], filename:join(Dir, "epmd.log")),
    ok = bct_server:wait_tcp(Port),
    Name = "host" ++ Number ++ "@127.0.0.1",
    Node = bct_server:start(bct_server:program("env", "coreutils"),
        ["ERL_EPMD_PORT=" ++ Number, "SECRET=" ++ ?CANARY, "erl", "-noinput", "-name", Name,
         "-setcookie", ?COOKIE], filename:join(Dir, "node.log")),
    NodePort = node_port(Port, hd(string:split(Name, "@"))),
    Socket = filename:join(Dir, "agent.socket"),
    #{epmd => Epmd, epmd_port => Port, node => Node, name => Name, node_port => NodePort,
      socket => Socket, listener => listener(Socket)}.

%% Where the node listens, once the port mapper knows it: message 122 asks for a name's port.
node_port(Epmd, Name) ->
    {ok, Connection} = gen_tcp:connect({127, 0, 0, 1}, Epmd, [binary, {active, false}, {packet, raw}]),
    ok = gen_tcp:send(Connection, [<<(length(Name) + 1):16, 122>>, Name]),
    Answer = gen_tcp:recv(Connection, 0),
    ok = gen_tcp:close(Connection),
    case Answer of
        {ok, <<119, 0, Port:16, _/binary>>} -> Port;
        {ok, <<119, _>>} -> receive after 20 -> node_port(Epmd, Name) end
    end.

listener(Socket) ->
    Caller = self(),
    Pid = spawn(fun() ->
        {ok, _} = gen_tcp:listen(0, [{ifaddr, {local, Socket}}]),
        Caller ! {self(), listens},
        receive stop -> ok end
    end),
    receive {Pid, listens} -> Pid end.

%% @doc Ends and undoes what `host/1' did.
leave(#{before := Before, config := Config, servers := Servers, files := Files}) ->
    [file:delete(<<File/binary, End/binary>>) || {local_etc, File} <- Files, End <- [<<>>, <<".written">>]],
    #{epmd := Epmd, node := Node, listener := Listener} = Servers,
    Listener ! stop,
    ok = bct_server:stop(Node),
    ok = bct_server:stop(Epmd),
    [application:unset_env(bc_gitops, Key) || {Key, _} <- Config],
    [case Value of false -> os:unsetenv(Name); _ -> os:putenv(Name, Value) end
     || {Name, Value} <- Before].

%% @doc What a hostile build tries: names, and how.
attacks(#{dir := Dir, files := Files, servers := Servers}) ->
    #{epmd_port := EpmdPort, node := {_, Pid}, name := Name, node_port := NodePort,
      socket := Socket} = Servers,
    [{{read, What}, {read, File}} || {What, File} <- Files]
    ++ [{{write, What}, {write, File ++ ".written"}}
        || {What, Given} <- Files, File <- [unicode:characters_to_list(Given)]]
    ++ [
        {{list, home}, {list, filename:join(Dir, "home")}},
        {{list, workspace}, {list, filename:join(Dir, "workspace/store")}},
        {{write, code}, {write, filename:join(Dir, "home/code.beam")}},
        {environment, {environment, ?CANARY}},
        {processes, {processes, ?CANARY}},
        {signal, {signal, integer_to_list(Pid)}},
        {setting, {setting, "/proc/sys/kernel/core_pattern"}},
        {port_mapper, {connect, {127, 0, 0, 1}, EpmdPort}},
        {node_port, {connect, {127, 0, 0, 1}, NodePort}},
        {node, {node, Name, ?COOKIE, EpmdPort}},
        {socket, {connect, {local, Socket}, 0}}
    ].

%% @doc An application of a build tool whose build attacks. The attack runs from a hook, from mix.exs
%% or from a Makefile.
project(Tool, App, Host) ->
    {ok, Script} = file:read_file(bct_fixture:path("hostile/attack.escript")),
    Targets = [io_lib:format("~0tp.~n", [{name(Name), Attack}]) || {Name, Attack} <- attacks(Host)],
    [{"attack.escript", Script}, {"targets.term", Targets} | files(Tool, App)].

files(rebar3, App) ->
    Hook = "{pre_hooks, [{compile, \"escript attack.escript\"}]}.\n{deps, []}.\n",
    bct_app:rebar3(App, "1.0.0", [{"rebar.config", Hook}]);
files(mix, App) ->
    Attack = "phase = if hd(System.argv()) == \"deps.get\", do: [\"deps\"], else: []\n"
        "{out, 0} = System.cmd(\"escript\", [\"attack.escript\" | phase])\nIO.puts(out)\n",
    Files = bct_app:mix(App, "1.0.0"),
    {_, Project} = lists:keyfind("mix.exs", 1, Files),
    lists:keyreplace("mix.exs", 1, Files, {"mix.exs", [Attack, Project]});
files(erlang_mk, App) ->
    bct_app:erlang_mk(App, "1.0.0", "escript attack.escript").

%% @doc An attack's name as the log has it.
name({Kind, What}) -> lists:flatten(io_lib:format("~s_~s", [Kind, What]));
name(What) -> atom_to_list(What).

%% @doc The names of what a build's log says was tried.
tried(Log) -> said(Log, "tried").

%% @doc And of what it got.
breaches(Log) -> said(Log, "BREACH").

said(Log, Word) ->
    case re:run(Log, "^" ++ Word ++ " (\\w+)", [global, multiline, {capture, [1], list}]) of
        {match, Found} -> lists:usort([Name || [Name] <- Found]);
        nomatch -> []
    end.

%% @doc Runs in a VM of an ordinary user: one hostile build in a directory of that user. Prints what
%% came of it, as a term.
as_user(Dir) ->
    {ok, _} = application:ensure_all_started(bc_gitops),
    Host = host(Dir),
    try io:format("~n~0tp.~n", [[attacked(Mode, Host) || Mode <- [required, off]]])
    after leave(Host)
    end.

attacked(Mode, #{dir := Given} = Host) ->
    Dir = filename:join(Given, Mode),
    ok = application:set_env(bc_gitops, build_sandbox, Mode),
    ok = bc_gitops_workspace:init(filename:join(Given, "workspace")),
    Repo = bct_repo:init(filename:join(Dir, "repo")),
    _ = bct_repo:commit(Repo, project(rebar3, "hostile", Host)),
    Source = #source_spec{type = git, url = bct_repo:url(Repo), ref = <<"main">>},
    Result = bct_workspace:prepare(hostile, Source),
    Log = case bc_gitops_workspace:build_log(hostile) of
        {ok, Text} -> Text;
        {error, _} -> <<>>
    end,
    ok = bc_gitops_workspace:delete_package(hostile),
    ok = bc_gitops_build_log:forget(hostile),
    {Mode, ended(Result), tried(Log), breaches(Log)}.

ended({ok, _}) -> ok;
ended({error, {Kind, _}}) -> Kind.
