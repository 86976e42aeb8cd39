%%% @doc One part of a hot upgrade: modules that change together, with the processes that run them
%%% suspended while they do. Each thing is noted in the journal before it is done; what fails here
%%% is undone there.
-module(bc_gitops_hot_part).

-export([make/2, run/2]).

-import(bc_gitops_steps, [steps/1, each/2]).

-export_type([part/0, upgrade/0]).

%% Soft: its processes stand still while it is loaded, and keep their states.
-type update() :: supervisor | soft | {advanced, Extra :: term()}.
-type part() :: #{
    load := [module()], gone := [module()], updates := #{module() => update()},
    prepared := code:prepared_code() | none, expected := [{module(), binary()}]
}.
%% What all parts share.
-type upgrade() :: #{
    journal := pid(), direction := up | down, search := bc_gitops_hot_processes:search(),
    vsns := #{module() => {Present :: term(), Coming :: term()}}, hide := [file:filename()],
    unkept := [module()], apps := [bc_gitops_hot_app:change()], settle := term(),
    timeout := timeout(), start_timeout := timeout(),
    _ => _
}.
-type failure() :: {error, {Kind :: atom(), map()}}.

%% States of more than that, in bytes, are not copied: their code_change leads back.
-define(STATE_LIMIT, 16 * 1024 * 1024).
-define(STATES_LIMIT, 256 * 1024 * 1024).
%% The states of more processes than that are not looked at again while everybody waits.
-define(LOOKED_AT, 1000).

%% @doc Everything that loading these steps needs.
-spec make([bc_gitops_hot_upgrade:code_step()], #{module() => bc_gitops_hot_code:object()}) ->
    {ok, part()} | failure().
make(Steps, New) ->
    Gone = [M || {delete_module, M} <- Steps],
    Load = [element(2, Step) || Step <- Steps, element(1, Step) =/= delete_module],
    Objects = maps:with(Load, New),
    case {Load -- maps:keys(Objects), bc_gitops_hot_code:prepare(Objects)} of
        {[], {ok, Prepared}} ->
            {ok, #{load => Load, gone => Gone, prepared => Prepared,
                   updates => maps:from_list([{M, How} || {update, M, How} <- Steps]),
                   expected => [{M, Code} || {M, {_, Code}} <- maps:to_list(Objects)]}};
        {[], {error, _} = Error} ->
            Error;
        {Missing, _} ->
            {error, {code_refused, #{modules => [{M, missing} || M <- Missing]}}}
    end.

%% @doc Suspends, loads, changes states, resumes, and has supervisors take up their children.
%% Answers how long the processes stood still, in microseconds.
-spec run(part(), upgrade()) ->
    {ok, #{pause_us := integer(), processes := integer()}} | {cold, {atom(), map()}} | failure().
run(#{updates := Updates} = Part, Upgrade) ->
    case hold(maps:keys(Updates), Upgrade) of
        {ok, Found} ->
            Members = [{Pid, M} || {Pid, #{modules := Modules}} <- maps:to_list(Found),
                                   M <- Modules, is_map_key(M, Updates)],
            run(Members, Part, Upgrade);
        {error, _} = Error ->
            Error
    end.

%% A process that begins between the search and the load would run new code on a state of the
%% former. So supervisors start none until all is done, and what began before that is looked for
%% once more.
hold([], _Upgrade) ->
    {ok, #{}};
hold(Modules, #{journal := Journal, timeout := Timeout, search := Search}) ->
    #{found := Found, starters := Starters} = Search,
    case bc_gitops_hot_journal:hold(Journal, Starters) of
        ok ->
            All = maps:merge(Found, bc_gitops_hot_processes:late(Modules, Search, Timeout)),
            Kinds = [{Pid, gen_event} || {Pid, #{kind := gen_event}} <- maps:to_list(All)],
            ok = bc_gitops_hot_journal:note(Journal, #{kinds => maps:from_list(Kinds)}),
            {ok, All};
        {error, _} = Error ->
            Error
    end.

run(Members, #{updates := Updates} = Part, #{journal := Journal} = Upgrade) ->
    Pids = lists:usort([Pid || {Pid, _} <- Members]),
    Supervisors = [{Pid, M} || {Pid, M} <- Members, map_get(M, Updates) =:= supervisor],
    case read_all(Supervisors, Upgrade) of
        {ok, Before} ->
            Save = savable(Pids),
            Began = erlang:monotonic_time(microsecond),
            Changed = steps([
                fun() -> bc_gitops_hot_journal:suspend(Journal, Pids, Save) end,
                fun() -> change_down(Members, Part, Upgrade) end,
                fun() -> load(Part, Upgrade) end,
                fun() -> change_up(Members, Supervisors, Before, Part, Upgrade) end
            ]),
            finish(Changed, Began, Pids, Upgrade);
        {error, Reason} ->
            %% it may do in init/1 what cannot be done twice
            {cold, Reason}
    end.

finish({ok, Differences}, Began, Pids, #{journal := Journal} = Upgrade) ->
    Look = length(Pids) =< ?LOOKED_AT andalso may_fail(Differences, Upgrade),
    case bc_gitops_hot_journal:resume(Journal, Look) of
        ok ->
            Pause = erlang:monotonic_time(microsecond) - Began,
            case children(Differences, Upgrade) of
                ok -> {ok, #{pause_us => Pause, processes => length(Pids)}};
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end;
finish(NotOk, _Began, _Pids, _Upgrade) ->
    NotOk.

%% What comes when the processes run again.
may_fail(Differences, #{apps := Apps, settle := Settle}) ->
    Other = fun(#{app := App, env := Env}) -> bc_gitops_app_env:all(App) =/= Env end,
    Settle =/= none orelse lists:any(fun is_different/1, Differences) orelse lists:any(Other, Apps).

is_different({_, #{added := Added, removed := Removed, replaced := Replaced}}) ->
    Added ++ Removed ++ Replaced =/= [].

%% Smaller ones first come into the limit, as they do in most applications.
savable(Pids) ->
    Sizes = [{Size, Pid} || Pid <- Pids, {memory, Size} <- [process_info(Pid, memory)],
                            Size =< ?STATE_LIMIT],
    within_limit(lists:sort(Sizes), ?STATES_LIMIT).

within_limit([{Size, Pid} | Rest], Left) when Size =< Left ->
    [Pid | within_limit(Rest, Left - Size)];
within_limit(_, _Left) ->
    [].

%%% Code

load(#{prepared := Prepared, expected := Expected, gone := Gone, load := Load}, Upgrade) ->
    #{journal := Journal, unkept := Unkept, hide := Hide} = Upgrade,
    case [M || M <- Load ++ Gone, lists:member(M, Unkept)] of
        [] -> ok;
        Lost ->
            Why = {former_code_not_kept, #{modules => Lost}},
            ok = bc_gitops_hot_journal:final(Journal, Why)
    end,
    case bc_gitops_hot_code:load(Prepared, Expected, Gone) of
        ok -> lists:foreach(fun code:del_path/1, Hide);
        {error, _} = Error -> Error
    end.

%%% States

%% On the way down the code that knows both states is the one that is about to go.
change_down(Members, Part, #{direction := down} = Upgrade) ->
    change(advanced(Members, Part, Upgrade), before_load, Upgrade);
change_down(_Members, _Part, #{direction := up}) ->
    ok.

change_up(Members, Supervisors, Before, Part, #{direction := Direction} = Upgrade) ->
    case differences(Supervisors, Before, Upgrade) of
        {ok, Differences} ->
            Own = [{change(Pid, M, [], Upgrade), change(Pid, M, [], Upgrade)}
                   || {Pid, M} <- Supervisors],
            Others = case Direction of
                up -> advanced(Members, Part, Upgrade);
                down -> []
            end,
            case change(Others ++ [{supervisor, Pair} || Pair <- Own], after_load, Upgrade) of
                ok -> {ok, Differences};
                {error, _} = Error -> Error
            end;
        NotOk ->
            NotOk
    end.

change(Pid, Module, Extra, #{vsns := Vsns}) ->
    {Present, _} = maps:get(Module, Vsns),
    {Pid, Module, Present, Extra}.

%% Each change with the one that leads back.
advanced(Members, #{updates := Updates}, #{direction := Direction, vsns := Vsns}) ->
    [{own, change_pair(Direction, Pid, M, Extra, maps:get(M, Vsns))}
     || {Pid, M} <- Members, {advanced, Extra} <- [map_get(M, Updates)]].

change_pair(up, Pid, Module, Extra, {Present, _}) ->
    {{Pid, Module, Present, Extra}, {Pid, Module, {down, Present}, Extra}};
change_pair(down, Pid, Module, Extra, {_, Coming}) ->
    {{Pid, Module, {down, Coming}, Extra}, {Pid, Module, Coming, Extra}}.

change([], _When, _Upgrade) ->
    ok;
change(Pairs, When, #{journal := Journal}) ->
    ByNew = [Back || {own, {_, Back}} <- Pairs, When =:= after_load],
    ByFormer = [Back || {Whose, {_, Back}} <- Pairs,
                        When =:= before_load orelse Whose =:= supervisor],
    ok = bc_gitops_hot_journal:leads_back(Journal, ByNew, ByFormer),
    bc_gitops_hot_journal:change(Journal, [Change || {_, {Change, _}} <- Pairs]).

%%% Children

read_all(Supervisors, #{timeout := Timeout}) ->
    States = bc_gitops_hot_sys:states([Pid || {Pid, _} <- Supervisors], Timeout),
    read_each(Supervisors, States, Timeout, #{}).

read_each([], _States, _Timeout, Read) ->
    {ok, Read};
read_each([{Pid, Module} | Rest], States, Timeout, Read) ->
    case bc_gitops_hot_children:read(Pid, Module, maps:get(Pid, States, gone), Timeout) of
        {ok, Seen} -> read_each(Rest, States, Timeout, Read#{Pid => Seen});
        {error, _} = Error -> Error
    end.

differences([], _Before, _Upgrade) ->
    {ok, []};
differences(Supervisors, Before, Upgrade) ->
    case read_all(Supervisors, Upgrade) of
        {ok, After} -> compare(Supervisors, Before, After, []);
        {error, _} = Error -> Error
    end.

compare([], _Before, _After, Differences) ->
    {ok, lists:reverse(Differences)};
compare([{Pid, Module} | Rest], Before, After, Differences) ->
    case bc_gitops_hot_children:difference(maps:get(Pid, Before), maps:get(Pid, After)) of
        {ok, Difference} -> compare(Rest, Before, After, [{Pid, Difference} | Differences]);
        {error, flags} -> {cold, {sup_flags_changed, #{module => Module}}}
    end.

%% First what can be undone, then what cannot. A new child whose place a former one still has, as a
%% registered name, starts when that one is gone.
children(Differences, Upgrade) ->
    steps([
        fun() -> each(Differences, fun(D) -> add(D, Upgrade) end) end,
        fun() -> each(Differences, fun(D) -> replace(D, Upgrade) end) end,
        fun() -> each(Differences, fun(D) -> remove(D, Upgrade) end) end
    ]).

add({_Pid, #{added := []}}, _Upgrade) ->
    ok;
add({Pid, #{added := Added, removed := Removed}} = Difference, Upgrade) ->
    #{journal := Journal, start_timeout := Timeout} = Upgrade,
    ok = bc_gitops_hot_journal:act(Journal, fun() ->
        bc_gitops_hot_children:stop(Pid, Added, Timeout)
    end),
    case bc_gitops_hot_children:start(Pid, Added, Timeout) of
        {error, _} when Removed =/= [] ->
            steps([fun() -> remove(Difference, Upgrade) end,
                   fun() -> bc_gitops_hot_children:start(Pid, Added, Timeout) end]);
        Answer ->
            Answer
    end.

replace({_Pid, #{replaced := []}}, _Upgrade) ->
    ok;
replace({Pid, #{replaced := Ids}}, #{journal := Journal, start_timeout := Timeout}) ->
    ok = bc_gitops_hot_journal:final(Journal, {children_replaced, #{children => Ids}}),
    bc_gitops_hot_children:replace(Pid, Ids, Timeout).

remove({_Pid, #{removed := []}}, _Upgrade) ->
    ok;
remove({Pid, #{removed := Ids}}, #{journal := Journal, start_timeout := Timeout}) ->
    ok = bc_gitops_hot_journal:final(Journal, {children_removed, #{children => Ids}}),
    bc_gitops_hot_children:stop(Pid, Ids, Timeout).
