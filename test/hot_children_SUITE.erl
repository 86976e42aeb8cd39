%%% @doc Code that changes while it runs, and the children of supervisors: those that new
%%% specifications name, and those that begin in the middle of a change.
-module(hot_children_SUITE).
-include_lib("stdlib/include/assert.hrl").

-export([all/0, end_per_testcase/2]).
-export([children_are_added_and_removed/1, a_name_goes_over/1, other_flags_are_cold/1,
         children_started_by_hand_stay/1, a_child_is_replaced/1, what_begins_meanwhile/1,
         who_begins_before_it_is_held/1]).

-define(UP, "code_change(_, {_, N, E}, _) -> {ok, {two, N, E}}.").
-define(SAME, "code_change(_, S, _) -> {ok, S}.").

all() ->
    [children_are_added_and_removed, a_name_goes_over, other_flags_are_cold,
     children_started_by_hand_stay, a_child_is_replaced, what_begins_meanwhile,
     who_begins_before_it_is_held].

end_per_testcase(_Case, _Config) ->
    bct_hot:stop(hot_t).

old() ->
    bct_hot:objects([sup([{hot_a, hot_t_server}]), {hot_t_server, bct_hot:server("one", ?SAME)}]).

new(Old, Texts) -> maps:merge(Old, bct_hot:objects(Texts)).

start(Objects) -> bct_hot:start(hot_t, Objects).

sup(Named) -> {hot_t_sup, bct_hot:supervisor("#{}", bct_hot:workers(Named))}.

children_are_added_and_removed(_Config) ->
    Server = {hot_t_server, bct_hot:server("one", ?SAME)},
    Old = bct_hot:objects([sup([{hot_a, hot_t_server}, {hot_b, hot_t_server}]), Server]),
    ok = start(Old),
    Pids = {whereis(hot_t_sup), whereis(hot_a)},
    New = new(Old, [sup([{hot_a, hot_t_server}, {hot_c, hot_t_server}])]),
    {ok, _} = bct_hot:upgrade(hot_t, Old, New),
    ?assertEqual(Pids, {whereis(hot_t_sup), whereis(hot_a)}),
    Children = [Id || {Id, Pid, _, _} <- supervisor:which_children(hot_t_sup), is_pid(Pid)],
    ?assertEqual([hot_a, hot_c], lists:sort(Children)),
    ?assertEqual(2, proplists:get_value(specs, supervisor:count_children(hot_t_sup))),
    ?assertEqual(undefined, whereis(hot_b)).

%% The new child takes the registered name of the one that goes.
a_name_goes_over(_Config) ->
    Old = old(),
    ok = start(Old),
    Children = "[#{id => other, start => {hot_t_server, start_link, [hot_a]}}]",
    New = new(Old, [{hot_t_sup, bct_hot:supervisor("#{}", Children)}]),
    Before = whereis(hot_a),
    {ok, _} = bct_hot:upgrade(hot_t, Old, New),
    ?assertMatch([{other, _, worker, _}], supervisor:which_children(hot_t_sup)),
    ?assertNotEqual(Before, whereis(hot_a)),
    ?assert(is_pid(whereis(hot_a))).

other_flags_are_cold(_Config) ->
    Old = old(),
    ok = start(Old),
    Workers = bct_hot:workers([{hot_a, hot_t_server}]),
    New = new(Old, [{hot_t_sup, bct_hot:supervisor("#{intensity => 7}", Workers)},
                    {hot_t_server, bct_hot:server("two", ?UP)}]),
    Names = [hot_t_sup, hot_a],
    Before = bct_hot:moment(Names, maps:keys(Old)),
    ?assertMatch({cold, {sup_flags_changed, #{module := hot_t_sup}}},
                 bct_hot:upgrade(hot_t, Old, New)),
    ?assertEqual(Before, bct_hot:moment(Names, maps:keys(Old))).

children_started_by_hand_stay(_Config) ->
    Old = old(),
    ok = start(Old),
    Hand = #{id => hand, start => {hot_t_server, start_link, [hot_h]}},
    {ok, ByHand} = supervisor:start_child(hot_t_sup, Hand),
    New = new(Old, [sup([{hot_a, hot_t_server}, {hot_b, hot_t_server}])]),
    {ok, _} = bct_hot:upgrade(hot_t, Old, New),
    ?assert(is_pid(whereis(hot_b))),
    ?assertEqual(ByHand, whereis(hot_h)).

%% Its specification starts something else: it begins anew, the others go on.
a_child_is_replaced(_Config) ->
    Named = [{hot_a, hot_t_server}, {hot_b, hot_t_server}],
    Old = bct_hot:objects([sup(Named), {hot_t_server, bct_hot:server("one", ?SAME)}]),
    ok = start(Old),
    [1, 1] = [gen_server:call(Name, bump) || {Name, _} <- Named],
    {Sup, A, B} = {whereis(hot_t_sup), whereis(hot_a), whereis(hot_b)},
    Children = "[#{id => hot_a, start => {hot_t_server, start_link, [hot_a]}},\n"
               " #{id => hot_b, start => {hot_t_other, start_link, [hot_b]}}]",
    New = new(Old, [{hot_t_sup, bct_hot:supervisor("#{}", Children)},
                    {hot_t_other, bct_hot:server("other", ?SAME)}]),
    {ok, _} = bct_hot:upgrade(hot_t, Old, New),
    ?assertEqual({Sup, A}, {whereis(hot_t_sup), whereis(hot_a)}),
    ?assertNotEqual(B, whereis(hot_b)),
    ?assertEqual([{one, 1, hot_a}, {other, 0, hot_b}],
                 [gen_server:call(Name, state) || {Name, _} <- Named]),
    Ref = monitor(process, whereis(hot_b)),
    exit(whereis(hot_b), kill),
    receive {'DOWN', Ref, process, _, killed} -> ok end,
    bct_wait:until(fun() -> is_pid(whereis(hot_b)) end),
    ?assertEqual(other, gen_server:call(hot_b, version)).

many(Server) ->
    Many = "-behaviour(supervisor).\n"
           "start_link() -> supervisor:start_link({local, hot_many}, ?MODULE, []).\n"
           "init([]) -> {ok, {#{strategy => simple_one_for_one},\n"
           "                  [#{id => s, start => {hot_t_server, start_link, []}}]}}.",
    Children = "[#{id => many, start => {hot_t_many, start_link, []}, type => supervisor}]",
    bct_hot:objects([{hot_t_sup, bct_hot:supervisor("#{}", Children)}, {hot_t_many, Many},
                     {hot_t_server, Server}]).

%% Asked for while processes are found and code is not loaded yet, a child begins with new code: on
%% the old one it would be left with a state that nobody changes.
what_begins_meanwhile(_Config) ->
    Old = many(bct_hot:server("one", ?SAME)),
    ok = start(Old),
    {ok, Busy} = supervisor:start_child(hot_many, [hot_a]),
    Test = self(),
    ok = gen_server:cast(Busy, {run, fun() -> Test ! busy, receive go_on -> ok end end}),
    receive busy -> ok end,
    New = new(Old, [{hot_t_server, bct_hot:server("two", ?UP)}]),
    More = #{suspend_timeout => 30000},
    spawn_link(fun() -> Test ! {upgraded, bct_hot:upgrade(hot_t, Old, New, More)} end),
    bct_wait:until(fun() -> {message_queue_len, 0} < process_info(Busy, message_queue_len) end),
    spawn_link(fun() -> Test ! {started, supervisor:start_child(hot_many, [hot_b])} end),
    bct_wait:until(fun() ->
        is_pid(whereis(hot_b))
            orelse {message_queue_len, 0} < process_info(whereis(hot_many), message_queue_len)
    end),
    Busy ! go_on,
    receive {upgraded, Upgraded} -> ?assertMatch({ok, #{processes := 1}}, Upgraded) end,
    receive {started, Started} -> ?assertMatch({ok, _}, Started) end,
    ?assertEqual([{two, 0, hot_a}, {two, 0, hot_b}],
                 [gen_server:call(Name, state) || Name <- [hot_a, hot_b]]),
    ?assertEqual([false, false], [bct_hot:suspended(Name) || Name <- [hot_t_sup, hot_many]]).

%% Between the search and the moment from which supervisors start nothing.
who_begins_before_it_is_held(_Config) ->
    Old = many(bct_hot:server("one", ?SAME)),
    ok = start(Old),
    {ok, First} = supervisor:start_child(hot_many, [hot_a]),
    {Search, []} = bc_gitops_hot_processes:find([hot_t_server], 5000),
    #{found := Found, starters := Starters} = Search,
    ?assertEqual([First], maps:keys(Found)),
    ?assertEqual(lists:sort([whereis(hot_t_sup), whereis(hot_many)]), Starters),
    {ok, Second} = supervisor:start_child(hot_many, [hot_b]),
    ?assertMatch(#{Second := #{modules := [hot_t_server]}},
                 bc_gitops_hot_processes:late([hot_t_server], Search, 5000)),
    ?assertEqual(1, map_size(bc_gitops_hot_processes:late([hot_t_server], Search, 5000))).
