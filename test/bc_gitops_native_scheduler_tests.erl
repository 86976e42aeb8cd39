%%% No call of a native function holds a normal scheduler for over a millisecond: those that may are
%%% marked dirty in the Rust sources, and the others are timed here with their largest input.
-module(bc_gitops_native_scheduler_tests).
-include_lib("eunit/include/eunit.hrl").

-define(LIMIT_US, 1000).
-define(RUNS, 50).

every_normal_function_is_timed_test() ->
    ?assertEqual(normal_functions(), lists:sort([Name || {Name, _} <- calls()])).

%% The best of many runs: the operating system may take the processor away in any one of them.
normal_functions_are_short_test_() ->
    [{atom_to_list(Name), fun() ->
        Times = [element(1, timer:tc(Call)) || _ <- lists:seq(1, ?RUNS)],
        ?assert(lists:min(Times) < ?LIMIT_US)
     end} || {Name, Call} <- calls()].

%% Its holder ends on a normal scheduler, and what it held is freed elsewhere.
a_large_snapshot_is_let_go_at_once_test_() ->
    {timeout, 60, fun() ->
        bct_dir:with("snapshot", fun(Dir) ->
            Files = [{"apps/drop_" ++ integer_to_list(N) ++ "/app.config",
                      io_lib:format("#{name => drop_~b, version => <<\"1\">>}.", [N])}
                     || N <- lists:seq(1, 1500)],
            Commit = iolist_to_binary(bct_repo:commit(bct_repo:init(Dir), Files)),
            ?assert(lists:min([time_to_let_go(Dir, Commit) || _ <- lists:seq(1, 10)]) < ?LIMIT_US)
        end)
    end}.

time_to_let_go(Dir, Commit) ->
    Options = #{apps_dir => <<"apps">>, atom_room => 10000},
    Test = self(),
    {Pid, Monitor} = spawn_monitor(fun() ->
        {ok, Snapshot} = bc_gitops_native:snapshot_open(Dir, Commit, Options, undefined),
        Test ! {self(), opened},
        receive go -> exit({shutdown, bc_gitops_native:snapshot_names(Snapshot) =:= []}) end
    end),
    receive {Pid, opened} -> ok end,
    Began = erlang:monotonic_time(microsecond),
    exit(Pid, kill),
    receive {'DOWN', Monitor, process, Pid, killed} -> ok end,
    erlang:monotonic_time(microsecond) - Began.

%% The largest inputs they take.
calls() ->
    Longest = binary:copy(<<"x">>, 65536),
    LongUrl = <<"https://127.0.0.1:1/", (binary:copy(<<"x">>, 60000))/binary>>,
    [{abi, fun bc_gitops_native:abi/0},
     {job_abandoned, fun bc_gitops_native:job_abandoned/0},
     {job_cancel, fun() -> cancelled(started(<<"https://127.0.0.1:1/">>)) end},
     {download_start, fun() -> cancelled(download(LongUrl)) end},
     {unpack_start, fun() -> cancelled(unpack()) end},
     {git_start, fun() -> cancelled(started(LongUrl)) end},
     {mesh_mcid, fun() -> bc_gitops_native:mesh_mcid(Longest) end},
     {mesh_start, fun() -> cancelled(verify()) end},
     {identicon, fun() -> bc_gitops_native:identicon(Longest, 16#ffffffff) end},
     {identicon_uri, fun() -> bc_gitops_native:identicon_uri(Longest, 16#ffffffff) end}].

started(Url) ->
    Request = #{op => list, url => Url, timeout => 1000, auth => #{}},
    Ref = make_ref(),
    {ok, Job} = bc_gitops_native:git_start(Request, self(), Ref),
    Job.

download(Url) ->
    Request = #{url => Url, path => <<"/nonexistent/x">>, timeout => 1000, auth => #{}},
    {ok, Job} = bc_gitops_native:download_start(Request, self(), make_ref()),
    Job.

unpack() ->
    Request = #{archive => <<"/nonexistent/x">>, path => <<"/nonexistent/y">>, timeout => 1000},
    {ok, Job} = bc_gitops_native:unpack_start(Request, self(), make_ref()),
    Job.

verify() ->
    Mcid = <<"mcid1-raw-blake3-", (binary:copy(<<"0">>, 64))/binary>>,
    Request = #{op => verify, path => <<"/nonexistent/x">>, mcid => Mcid, limit => 1, timeout => 1000},
    {ok, Job} = bc_gitops_native:mesh_start(Request, self(), make_ref()),
    Job.

cancelled(Job) ->
    ok = bc_gitops_native:job_cancel(Job).

%% The functions whose attribute names no dirty scheduler.
normal_functions() ->
    Sources = filelib:wildcard(bct_fixture:path("../../native/nif/src/**/*.rs")),
    ?assertNotEqual([], Sources),
    lists:sort(lists:append([normal_functions(S) || S <- Sources])).

normal_functions(Source) ->
    {ok, Text} = file:read_file(Source),
    Pattern = "#\\[rustler::nif([^\\]]*)\\]\\s*(?:pub )?fn (\\w+)",
    case re:run(Text, Pattern, [global, {capture, all_but_first, list}]) of
        {match, Found} ->
            [list_to_atom(Name) || [Options, Name] <- Found, string:find(Options, "Dirty") =:= nomatch];
        nomatch ->
            []
    end.
