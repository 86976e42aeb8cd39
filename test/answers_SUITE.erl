%%% Reads are answered while an application or a server hangs, and none of them shows a password.
-module(answers_SUITE).
-include_lib("stdlib/include/assert.hrl").
-include("bc_gitops.hrl").

-compile([export_all, nowarn_export_all]).

%% Less than anything hangs here.
-define(PATIENCE, 30000).
-define(CANARY, <<"canary+SECRET/of=repo 42">>).

suite() ->
    [{timetrap, {minutes, 10}}].

all() ->
    [while_an_app_hangs_in_prep_stop, while_a_server_is_silent, no_password_of_the_repository_is_shown].

init_per_testcase(Case, Config) ->
    ok = bct_recorder:start(),
    [{context, bct_gitops:setup(atom_to_list(Case))} | Config].

end_per_testcase(_Case, Config) ->
    Dir = unicode:characters_to_list(maps:get(dir, context(Config))),
    _ = [code:del_path(Path) || Path <- code:get_path(), lists:prefix(Dir, Path)],
    bct_gitops:teardown(context(Config)),
    bct_recorder:stop().

context(Config) -> proplists:get_value(context, Config).

%% The application controller waits for the app then, and everything that asks it hangs as well.
while_an_app_hangs_in_prep_stop(Config) ->
    Context = context(Config),
    true = register(?MODULE, self()),
    Hang = ["prep_stop(_) -> ", atom_to_list(?MODULE), " ! {hangs, self()}, receive go_on -> ok end."],
    ok = on_host(Context, bct_hangs, #{prep_stop => Hang}),
    ok = on_host(Context, bct_stays, #{}),
    _ = bct_gitops:push(Context, [bct_gitops:spec(bct_hangs, "1.0.0"), bct_gitops:spec(bct_stays, "1.0.0")]),
    _ = bct_gitops:start(Context, #{runtime_module => bc_gitops_runtime_default, stop_timeout => 60000}),
    ok = bc_gitops:reconcile(),
    _ = bct_gitops:delete(Context, [bct_hangs]),
    {Waiting, Ref} = spawn_monitor(fun() -> exit(bc_gitops:reconcile()) end),
    Hanging = receive {hangs, Pid} -> Pid after ?PATIENCE -> error(not_stopped) end,
    {ok, Status} = answered(fun bc_gitops:status/0),
    {ok, Desired} = answered(fun bc_gitops:get_desired_state/0),
    {ok, Current} = answered(fun bc_gitops:get_current_state/0),
    {ok, #app_state{details = Details}} = answered(fun() -> bc_gitops:get_app_status(bct_hangs) end),
    {ok, #app_state{status = Stays}} = answered(fun() -> bc_gitops:get_app_status(bct_stays) end),
    %% all of that was during the hang
    ?assertEqual(removing, bct_gitops:state(bct_hangs)),
    ?assertMatch(#{status := out_of_sync, app_count := 2}, Status),
    ?assertEqual([bct_stays], maps:keys(Desired)),
    ?assertMatch(#{bct_stays := _}, Current),
    ?assertMatch(#{state := removing}, Details),
    ?assertEqual(running, Stays),
    Hanging ! go_on,
    receive {'DOWN', Ref, process, Waiting, Result} -> ?assertEqual(ok, Result) end,
    ?assertEqual({error, not_found}, bc_gitops:get_app_status(bct_hangs)),
    _ = bc_gitops:remove(bct_stays),
    true = unregister(?MODULE).

%% A build on the code path of this VM, which is started from there.
on_host(#{dir := Dir}, Name, Callbacks) ->
    #{path := Path} = bct_build:lib(filename:join(Dir, "host"), atom_to_binary(Name), #{
        name => Name, app => [{mod, {Name, []}}],
        modules => [{Name, [bct_build:app(Callbacks)]}]
    }),
    true = code:add_pathz(unicode:characters_to_list(filename:join(Path, "ebin"))),
    ok.

while_a_server_is_silent(Config) ->
    Context = context(Config),
    _ = bct_gitops:push(Context, [bct_gitops:spec(a, "1")]),
    _ = bct_gitops:start(Context),
    ok = bc_gitops:reconcile(),
    ok = bc_gitops:stop_reconciler(),
    {ok, Listen} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}}, {active, false}]),
    {ok, Port} = inet:port(Listen),
    Url = iolist_to_binary(io_lib:format("http://127.0.0.1:~b/x.git", [Port])),
    _ = bct_gitops:start(Context, #{repo_url => Url, git_timeout => 60000}),
    {ok, Socket} = gen_tcp:accept(Listen, ?PATIENCE),
    {Caller, Ref} = spawn_monitor(fun() -> exit(bc_gitops:reconcile()) end),
    {ok, Status} = answered(fun bc_gitops:status/0),
    {ok, Current} = answered(fun bc_gitops:get_current_state/0),
    {ok, #app_state{status = A}} = answered(fun() -> bc_gitops:get_app_status(a) end),
    ?assertMatch({error, not_found}, answered(fun() -> bc_gitops:get_app_status(b) end)),
    ?assertEqual({error, not_read_yet}, answered(fun bc_gitops:get_desired_state/0)),
    %% the server still has said nothing, and the caller waits
    ?assert(is_process_alive(Caller)),
    ?assertMatch(#{status := ready, app_count := 1, healthy_count := 1}, Status),
    ?assertMatch(#{a := #app_state{version = <<"1">>}}, Current),
    ?assertEqual(running, A),
    %% stopping does not wait for it either
    ok = bc_gitops:stop_reconciler(),
    receive {'DOWN', Ref, process, Caller, Result} -> ?assertEqual({error, stopped}, Result) end,
    ok = gen_tcp:close(Socket),
    ok = gen_tcp:close(Listen).

%% An answer while something hangs; how soon is for bench.
answered(Fun) ->
    {Pid, Ref} = spawn_monitor(fun() -> exit({answer, Fun()}) end),
    receive {'DOWN', Ref, process, Pid, {answer, Answer}} -> Answer after ?PATIENCE -> error({no_answer, Fun}) end.

no_password_of_the_repository_is_shown(Config) ->
    #{dir := Dir} = Context = context(Config),
    Self = self(),
    Url = iolist_to_binary(["https://user:", uri_string:quote(?CANARY), "@127.0.0.1:1/x.git"]),
    {ok, _} = application:ensure_all_started(bc_gitops),
    ok = bc_gitops_telemetry:attach_many(?FUNCTION_NAME, events(),
        fun(Event, Measurements, Metadata, _) -> Self ! {event, {Event, Measurements, Metadata}} end, []),
    #{level := Level} = logger:get_primary_config(),
    ok = logger:set_primary_config(level, all),
    Lines = bct_log:capture(fun() ->
        _ = bct_gitops:start(Context, #{repo_url => Url}),
        {error, _} = Error = bc_gitops:reconcile(),
        ok = bc_gitops:deploy(#{name => a, version => <<"1">>}),
        Read = [Error, bc_gitops:format_error(element(2, Error)), bc_gitops:status(), bc_gitops:plan(),
                bc_gitops:get_app_status(a), bc_gitops:get_current_state(), bc_gitops:get_desired_state()],
        Self ! {read, Read},
        Self ! {seen, [bct_canary:seen(Pid) || Pid <- bct_canary:tree(bc_gitops_sup)]},
        exit(whereis(bc_gitops_reconciler), kill),
        ok = bct_gitops:wait_for(fun() -> is_pid(whereis(bc_gitops_reconciler)) end),
        {error, _} = bc_gitops:reconcile()
    end),
    ok = logger:set_primary_config(level, Level),
    ok = bc_gitops_telemetry:detach(?FUNCTION_NAME),
    Events = [Event || {event, Event} <- flush()],
    ?assert(lists:keymember(?TELEMETRY_GIT_PULL, 1, Events)),
    ?assert(lists:keymember(?TELEMETRY_RECONCILE_ERROR, 1, Events)),
    ?assertNotEqual([], Lines),
    Places = [
        {events, Events}, {lines, Lines}, {persistent_term, persistent_term:get()},
        {environment, application:get_all_env(bc_gitops)}
    ] ++ [{Kind, Term} || {Kind, Term} <- get(flushed), lists:member(Kind, [read, seen])] ++
        [{Table, ets:tab2list(Table)} || Table <- ets:all(), ets:info(Table, protection) =/= private] ++
        [{File, Content} || {File, Content} <- contents(Dir)],
    Forms = bct_canary:forms(?CANARY),
    ?assertNotEqual([], bct_canary:found(bct_canary:text([{state, Url}]), Forms)),
    ?assertMatch([{_, _}, {_, _}], [Place || {Kind, _} = Place <- Places, Kind =:= read orelse Kind =:= seen]),
    ?assertEqual([], [{Place, Form} || {Place, Term} <- Places, Form <- bct_canary:found(bct_canary:text(Term), Forms)]).

events() ->
    [
        ?TELEMETRY_RECONCILE_START, ?TELEMETRY_RECONCILE_STOP, ?TELEMETRY_RECONCILE_ERROR, ?TELEMETRY_GIT_PULL,
        ?TELEMETRY_PARSE_START, ?TELEMETRY_PARSE_STOP, [bc_gitops, deploy, start], [bc_gitops, deploy, stop]
    ].

flush() ->
    All = messages(),
    _ = put(flushed, All),
    All.

messages() ->
    receive {_, _} = Message -> [Message | messages()]; _ -> messages() after 0 -> [] end.

contents(Dir) ->
    filelib:fold_files(binary_to_list(Dir), ".*", true, fun(File, Acc) ->
        {ok, Content} = file:read_file(File),
        [{File, Content} | Acc]
    end, []).
