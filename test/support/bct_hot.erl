%%% @doc Applications made of source text whose code is changed while they run.
-module(bct_hot).
-export([objects/1, object/2, start/2, start/3, stop/1, steps/1, upgrade/3, upgrade/4, install/4]).
-export([forget/1, linger/0, hold/2]).
-export([server/2, supervisor/2, workers/1, suspended/1, moment/2]).

%% @doc Object code by module, from source text without its first line.
objects(Texts) ->
    maps:from_list([{Module, object(Module, Text)} || {Module, Text} <- Texts]).

object(Module, Text) ->
    Name = atom_to_list(Module),
    Body = string:replace(unicode:characters_to_list(Text), "?MODULE", Name, all),
    Source = lists:flatten(["-module(", Name, ").\n", Body, "\n"]),
    {ok, Tokens, _} = erl_scan:string(Source),
    Forms = [begin {ok, Form} = erl_parse:parse_form(F), Form end || F <- forms(Tokens, [])],
    {ok, Module, Code} = compile:forms(Forms, [deterministic, export_all, nowarn_export_all]),
    {"/nowhere/" ++ atom_to_list(Module) ++ ".beam", Code}.

forms([], []) -> [];
forms([{dot, _} = Dot | Rest], Form) -> [lists:reverse([Dot | Form]) | forms(Rest, [])];
forms([Token | Rest], Form) -> forms(Rest, [Token | Form]).

%% @doc Loads the objects and starts an application whose root is the supervisor Root.
start(App, Objects) ->
    start(App, Objects, []).

start(App, Objects, Keys) ->
    _ = [{module, M} = code:load_binary(M, File, Code)
         || {M, {File, Code}} <- maps:to_list(Objects)],
    ok = application:load({application, App, Keys ++ [
        {vsn, "1"}, {modules, maps:keys(Objects)}, {applications, [kernel, stdlib]},
        {registered, []},
        {mod, {list_to_atom(atom_to_list(App) ++ "_sup"), []}}]}),
    ok = application:start(App).

stop(App) ->
    _ = application:stop(App),
    ok = application:unload(App),
    forget(App).

%% @doc Takes the application's modules out of the VM.
forget(App) ->
    Ours = [M || {M, _} <- code:all_loaded(), lists:prefix(atom_to_list(App), atom_to_list(M))],
    lists:foreach(fun(M) -> code:purge(M), code:delete(M), code:purge(M) end, Ours).

%% @doc Writes an application as a build tool leaves it; answers its ebin directory.
install(Ebin, App, Objects, Keys) ->
    ok = filelib:ensure_path(Ebin),
    lists:foreach(fun file:delete/1, filelib:wildcard(filename:join(Ebin, "*"))),
    Write = fun(Name, Bytes) -> ok = file:write_file(filename:join(Ebin, Name), Bytes) end,
    [Write(atom_to_list(M) ++ ".beam", Code) || {M, {_, Code}} <- maps:to_list(Objects)],
    Description = {application, App, Keys ++ [
        {vsn, "1"}, {modules, maps:keys(Objects)}, {applications, [kernel, stdlib]},
        {registered, []}, {mod, {list_to_atom(atom_to_list(App) ++ "_sup"), []}}]},
    Write(atom_to_list(App) ++ ".app", io_lib:format("~p.~n", [Description])),
    Ebin.

%% @doc The text of a function that a process never leaves until it is told to.
linger() ->
    "run(Test) -> Test ! {self(), runs}, receive stop -> ok end, ended.\n".

%% @doc A process that runs `linger/0' of the module, and goes on to run it after its code changes.
hold(Module, Test) ->
    Pid = spawn(fun() -> Module:run(Test), ok end),
    receive {Pid, runs} -> Pid end.

%% @doc An upgrade of everything that differs between the objects.
upgrade(App, Old, New) ->
    upgrade(App, Old, New, #{}).

upgrade(App, Old, New, More) ->
    bc_gitops_hot_upgrade:run(maps:merge(
        #{app => App, old => Old, new => New, steps => steps({Old, New}), suspend_timeout => 500,
          start_timeout => 2000},
        More)).

%% @doc The steps as they are computed from two builds.
steps({Old, New}) ->
    [{add_module, M} || M <- maps:keys(maps:without(maps:keys(Old), New))]
        ++ [{delete_module, M} || M <- maps:keys(maps:without(maps:keys(New), Old))]
        ++ [step(M, Object) || {M, Object} <- maps:to_list(New), is_map_key(M, Old),
                               map_get(M, Old) =/= Object].

step(Module, {_, Code}) ->
    {ok, {_, [{exports, Exports}, {attributes, Attributes}]}} =
        beam_lib:chunks(Code, [exports, attributes]),
    case proplists:get_value(behaviour, Attributes) of
        [supervisor] -> {update, Module, supervisor};
        [application, supervisor] -> {update, Module, supervisor};
        ['Elixir.Application', 'Elixir.Supervisor'] -> {update, Module, supervisor};
        _ ->
            case [A || {F, A} <- Exports, F =:= code_change orelse F =:= system_code_change] of
                [] -> {load_module, Module};
                _ -> {update, Module, {advanced, []}}
            end
    end.

%% @doc A gen_server whose state is `{Version, Count, Extra}'.
server(Version, CodeChange) ->
    io_lib:format(
        "-behaviour(gen_server).~n-vsn(\"~s\").~n"
        "start_link(Name) -> gen_server:start_link({local, Name}, ?MODULE, Name, []).~n"
        "init(Name) -> {ok, {~s, 0, Name}}.~n"
        "handle_call(version, _, S) -> {reply, ~s, S};~n"
        "handle_call(bump, _, {V, N, E}) -> {reply, N + 1, {V, N + 1, E}};~n"
        "handle_call(state, _, S) -> {reply, S, S}.~n"
        "handle_cast({run, F}, S) -> F(), {noreply, S}.~n"
        "~s~n", [Version, Version, Version, CodeChange]).

%% @doc The callback and root supervisor; Children is the text of a list of specifications.
supervisor(Flags, Children) ->
    io_lib:format(
        "-behaviour(application).~n-behaviour(supervisor).~n"
        "start(_, _) -> supervisor:start_link({local, ?MODULE}, ?MODULE, []).~nstop(_) -> ok.~n"
        "init([]) -> {ok, {~s, ~s}}.~n", [Flags, Children]).

%% @doc The text of specifications for named processes of modules.
workers(Named) ->
    Spec = "#{id => ~p, start => {~p, start_link, [~p]}}",
    Specs = [io_lib:format(Spec, [Name, Module, Name]) || {Name, Module} <- Named],
    ["[", lists:join(", ", Specs), "]"].

%% @doc Whether a process is suspended.
suspended(Pid) ->
    {status, _, _, [_, Status | _]} = sys:get_status(Pid),
    Status =:= suspended.

%% @doc What upgrades must leave alone: which process, in which state, with which code.
moment(Names, Modules) ->
    {[{Name, whereis(Name), sys:get_state(Name), suspended(Name)} || Name <- Names],
     [{M, erlang:module_loaded(M) andalso M:module_info(md5)} || M <- Modules]}.
