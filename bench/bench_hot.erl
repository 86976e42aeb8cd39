%%% @doc How long the processes of an application stand still while its code is changed: one of them is
%%% called all the time, and the longest time without an answer counts. OTP's release_handler does the
%%% same with an appup, and a restart starts the processes anew.
-module(bench_hot).

-export([run/0, client/2]).

-define(APP, hotbench).
-define(ROUNDS, 6).

run() ->
    bct_dir:with("bench-hot", fun(Dir) ->
        Builds = [build(unicode:characters_to_list(Dir), Version) || Version <- ["1", "2"]],
        [measure(Builds, Changed, Others) || {Changed, Others} <- [{1, 0}, {100, 0}, {1000, 0}, {10000, 0},
                                                                   {10, 10000}]]
    end).

measure([One, Two] = Builds, Changed, Others) ->
    ok = start(One, Changed, Others),
    Client = spawn_link(?MODULE, client, [self(), hd(workers(hotbench_server))]),
    Turns = [{gap(Client, fun() -> ours(From, To) end), gap(Client, fun() -> otp(To, From) end)}
             || _ <- lists:seq(1, ?ROUNDS), {From, To} <- [{One, Two}]],
    {Ours, Otp} = lists:unzip(Turns),
    Client ! stop,
    Restarts = [restarted(Build, Changed, Others) || Build <- lists:append(lists:duplicate(3, Builds))],
    ok = stop(),
    What = [integer_to_list(Changed), " processes change", [[", ", integer_to_list(Others), " do not"] || Others > 0]],
    Row = #{what => ["hot upgrade: ", What], ours => median(Ours) / 1000, aim => {times, 1}},
    bench_rows:add(Row#{theirs => {"release_handler:upgrade_app", median(Otp) / 1000}}),
    bench_rows:add((maps:remove(aim, Row))#{theirs => {"stop, load, start", median(Restarts) / 1000}}).

%% One way by us and the way back by OTP, so that both meet the same processes.
ours(#{objects := Old, dir := From, app := Was}, #{objects := New, dir := To, app := Is}) ->
    {ok, _} = bc_gitops_hot_upgrade:run(#{
        app => ?APP, old => Old, new => New, steps => [{update, hotbench_server, {advanced, []}}],
        paths => [{ebin(From), ebin(To)}],
        apps => [#{app => ?APP, from => Was, to => Is, env => #{}}]}).

otp(#{vsn := _}, #{vsn := Vsn, dir := Dir}) ->
    {ok, _} = release_handler:downgrade_app(?APP, Vsn, Dir).

%%% The application

build(Dir, Vsn) ->
    Lib = filename:join(Dir, "hotbench-" ++ Vsn),
    Ebin = ebin(Lib),
    ok = filelib:ensure_path(Ebin),
    Objects = maps:from_list([compiled(Module, Text, Ebin) || {Module, Text} <- modules(Vsn)]),
    Keys = [{description, "a pool of servers"}, {vsn, Vsn}, {modules, maps:keys(Objects)}, {applications, [kernel, stdlib]}, {registered, []},
            {mod, {hotbench_sup, []}}],
    App = {application, ?APP, Keys},
    ok = write(Ebin, "hotbench.app", App),
    Update = [{update, hotbench_server, {advanced, []}}],
    ok = write(Ebin, "hotbench.appup", {"2", [{"1", Update}], [{"1", Update}]}),
    #{vsn => Vsn, dir => Lib, app => App, objects => Objects}.

ebin(Lib) -> filename:join(Lib, "ebin").

write(Dir, Name, Term) ->
    file:write_file(filename:join(Dir, Name), io_lib:format("~p.~n", [Term])).

compiled(Module, Text, Ebin) ->
    File = filename:join(Ebin, atom_to_list(Module)),
    ok = file:write_file(File ++ ".erl", ["-module(", atom_to_list(Module), ").\n", Text]),
    {ok, Module, Code} = compile:file(File ++ ".erl", [binary, export_all, nowarn_export_all]),
    ok = file:write_file(File ++ ".beam", Code),
    {Module, {File ++ ".beam", Code}}.

modules(Vsn) ->
    [{hotbench_sup,
      "-behaviour(supervisor).\n"
      "start(_, _) -> supervisor:start_link({local, ?MODULE}, ?MODULE, []).\n"
      "stop(_) -> ok.\n"
      "init([]) -> {ok, {#{strategy => one_for_one}, []}}.\n"},
     {hotbench_pool,
      "-behaviour(supervisor).\n"
      "start_link(Module) -> supervisor:start_link(?MODULE, Module).\n"
      "init(Module) -> {ok, {#{strategy => simple_one_for_one},\n"
      "    [#{id => worker, start => {Module, start_link, []}, modules => [Module]}]}}.\n"},
     {hotbench_server, server(Vsn)}, {hotbench_other, server("1")}].

server(Vsn) ->
    ["-behaviour(gen_server).\n-vsn(\"", Vsn, "\").\n"
     "start_link() -> gen_server:start_link(?MODULE, [], []).\n"
     "init([]) -> {ok, {0, ", Vsn, "}}.\n"
     "handle_call(bump, _, {N, V}) -> {reply, {N, V, ", Vsn, "}, {N + 1, V}}.\n"
     "handle_cast(_, S) -> {noreply, S}.\n"
     "code_change({down, _}, {N, _}, _) -> {ok, {N, 1}};\n"
     "code_change(_, {N, _}, _) -> {ok, {N, ", Vsn, "}}.\n"].

start(#{dir := Dir, objects := Objects}, Changed, Others) ->
    true = code:add_pathz(ebin(Dir)),
    [{module, M} = code:load_binary(M, File, Code) || {M, {File, Code}} <- maps:to_list(Objects)],
    ok = application:start(?APP),
    [begin
        Spec = #{id => Module, start => {hotbench_pool, start_link, [Module]}, type => supervisor},
        {ok, Pool} = supervisor:start_child(hotbench_sup, Spec),
        [{ok, _} = supervisor:start_child(Pool, []) || _ <- lists:seq(1, Count)]
     end || {Module, Count} <- [{hotbench_server, Changed}, {hotbench_other, Others}]],
    ok.

stop() ->
    ok = application:stop(?APP),
    ok = application:unload(?APP),
    [begin code:purge(M), code:delete(M), code:purge(M) end || {M, _} <- modules("1")],
    [code:del_path(Path) || Path <- code:get_path(), string:find(Path, "hotbench-") =/= nomatch],
    ok.

workers(Module) ->
    {Module, Pool, _, _} = lists:keyfind(Module, 1, supervisor:which_children(hotbench_sup)),
    [Pid || {_, Pid, _, _} <- supervisor:which_children(Pool)].

restarted(Build, Changed, Others) ->
    Began = now_us(),
    ok = stop(),
    ok = start(Build, Changed, Others),
    now_us() - Began.

%%% The client

gap(Client, Change) ->
    Client ! {begin_at, self()},
    receive {Client, begun} -> ok end,
    _ = Change(),
    Client ! {gap, self()},
    receive {Client, Gap} -> Gap end.

client(Owner, Worker) ->
    ask(Owner, Worker, now_us(), 0).

ask(Owner, Worker, Last, Gap) ->
    receive
        {begin_at, From} -> From ! {self(), begun}, ask(Owner, Worker, now_us(), 0);
        {gap, From} -> From ! {self(), Gap}, ask(Owner, Worker, Last, Gap);
        stop -> ok
    after 0 ->
        {_, Version, Version} = gen_server:call(Worker, bump, infinity),
        Now = now_us(),
        erlang:yield(),
        ask(Owner, Worker, Now, max(Gap, Now - Last))
    end.

now_us() -> erlang:monotonic_time(microsecond).

median(Samples) -> lists:nth((length(Samples) + 1) div 2, lists:sort(Samples)).
