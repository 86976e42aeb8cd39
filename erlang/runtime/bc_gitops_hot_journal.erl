%%% @doc Holds what a hot upgrade has done so far, and undoes it when the upgrade fails, when the
%%% process that upgrades dies, and when the one that asked for it does.
%%%
%%% What is about to be done is written down before it is done. The states of processes are held
%%% here alone: they are copied once. The journal stands in a table that the upgrading process
%%% inherits, so that it undoes when this process dies.
-module(bc_gitops_hot_journal).
-behaviour(gen_server).

-export([run/3]).
-export([note/2, act/2, final/2, leads_back/3, hold/2, suspend/3, change/2, resume/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, format_status/1]).

-export_type([result/0]).

-type result() :: {ok, map()} | {later, term()} | {undone, term()} | {restart, term()}.
-type work() :: fun((pid()) -> {done, result()} | {failed, Reason :: term()}).

-record(state, {
    owner :: pid(),
    tag :: reference(),
    worker :: pid() | undefined,
    table :: ets:table(),
    journal :: bc_gitops_hot_undo:journal()
}).

%% @doc Runs Work in a process of its own with a journal; what it did is undone when it fails or
%% dies.
-spec run(work(), timeout(), map()) -> result().
run(Work, Timeout, Details) ->
    Tag = make_ref(),
    {ok, Journal} = gen_server:start(?MODULE, {self(), Tag, Timeout}, []),
    Watched = monitor(process, Journal),
    Worker = gen_server:call(Journal, {work, Work}, infinity),
    await(Tag, Details, [Watched, monitor(process, Worker)]).

await(Tag, Details, Refs) ->
    receive
        {Tag, Result} ->
            lists:foreach(fun(Ref) -> demonitor(Ref, [flush]) end, Refs),
            Result;
        {'DOWN', Ref, process, _, _} when Refs =:= [Ref] ->
            receive {Tag, Result} -> Result
            after 0 -> {restart, {upgrade_killed, Details}}
            end;
        {'DOWN', Ref, process, _, _} when hd(Refs) =:= Ref; tl(Refs) =:= [Ref] ->
            await(Tag, Details, lists:delete(Ref, Refs))
    end.

%%% For the worker

%% @doc Adds what is about to be done.
-spec note(pid(), map()) -> ok.
note(Journal, Facts) ->
    gen_server:call(Journal, {add, {note, Facts}}, infinity).

%% @doc Adds how to undo what is about to be done.
-spec act(pid(), fun(() -> ok | {error, term()})) -> ok.
act(Journal, Undo) ->
    gen_server:call(Journal, {add, {act, Undo}}, infinity).

%% @doc What is about to be done cannot be undone.
-spec final(pid(), term()) -> ok.
final(Journal, Why) ->
    gen_server:call(Journal, {add, {final, Why}}, infinity).

%% @doc Which changes lead back, by the new code and by the former.
-spec leads_back(pid(), [bc_gitops_hot_sys:change()], [bc_gitops_hot_sys:change()]) -> ok.
leads_back(Journal, ByNew, ByFormer) ->
    gen_server:call(Journal, {add, {leads_back, ByNew, ByFormer}}, infinity).

%% @doc Suspends supervisors, until the others are resumed.
-spec hold(pid(), [pid()]) -> ok | {error, {not_suspended, map()}}.
hold(Journal, Supervisors) ->
    gen_server:call(Journal, {hold, Supervisors}, infinity).

%% @doc Suspends processes, and saves the states of some of them.
-spec suspend(pid(), [pid()], Save :: [pid()]) -> ok | {error, {not_suspended, map()}}.
suspend(Journal, Pids, Save) ->
    gen_server:call(Journal, {suspend, Pids, Save}, infinity).

%% @doc Has suspended processes change their states.
-spec change(pid(), [bc_gitops_hot_sys:change()]) -> ok | {error, {code_change_failed, map()}}.
change(Journal, Changes) ->
    gen_server:call(Journal, {change, Changes}, infinity).

%% @doc Resumes them. With Look, their states are looked at before: worth its time where what
%% follows may fail.
-spec resume(pid(), Look :: boolean()) -> ok | {error, {not_resumed, map()}}.
resume(Journal, Look) ->
    gen_server:call(Journal, {resume, Look}, infinity).

%%% gen_server

-spec init({pid(), reference(), timeout()}) -> {ok, #state{}}.
init({Owner, Tag, Timeout}) ->
    _ = monitor(process, Owner),
    Table = ets:new(?MODULE, [private]),
    Journal = bc_gitops_hot_undo:new(Timeout),
    {ok, #state{owner = Owner, tag = Tag, table = Table, journal = Journal}}.

-spec handle_call(term(), gen_server:from(), #state{}) ->
    {reply, term(), #state{}} | {stop, normal, ok, #state{}}.
handle_call({work, Work}, _From, #state{owner = Owner, tag = Tag, table = Table} = State) ->
    Journal = self(),
    {Worker, _} = spawn_monitor(fun() -> work(Work, Journal, Owner, Tag) end),
    true = ets:setopts(Table, [{heir, Worker, journal}]),
    {reply, Worker, write(State#state.journal, State#state{worker = Worker})};
handle_call({add, Fact}, _From, #state{journal = Journal} = State) ->
    {reply, ok, write(added(Fact, Journal), State)};
handle_call({hold, Pids}, _From, #state{journal = Journal} = State) ->
    held(Pids, write(Journal#{held := Pids}, State));
handle_call({suspend, Pids, Save}, _From, #state{journal = Journal} = State) ->
    Fresh = #{suspended => Pids, resumed => false, begun => [], changed => #{}, back_before => [],
              back_after => []},
    suspended(Pids, Save, write(maps:merge(Journal, Fresh), State));
handle_call({change, Changes}, _From, State) ->
    changed(Changes, begun(Changes, State));
handle_call({resume, Look}, _From, #state{journal = Journal} = State) ->
    resumed(Look, write(Journal#{resumed := true}, State));
handle_call({done, Result}, _From, State) ->
    answer(Result, State),
    {stop, normal, ok, State};
handle_call({failed, Reason}, _From, State) ->
    answer(undone(Reason, State#state.journal), State),
    {stop, normal, ok, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, normal, #state{}}.
handle_info({'DOWN', _, process, Worker, Reason}, #state{worker = Worker} = State) ->
    answer(undone({upgrade_killed, #{reason => Reason}}, State#state.journal), State),
    {stop, normal, State};
handle_info({'DOWN', _, process, Owner, _}, #state{owner = Owner, worker = Worker} = State) ->
    end_worker(Worker),
    _ = undone(caller_gone, State#state.journal),
    {stop, normal, State};
handle_info(_Message, State) ->
    {noreply, State}.

%% States of processes may hold secrets.
-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(Status) ->
    maps:map(fun(log, _) -> []; (_Key, _Value) -> hidden end, Status).

added({note, Facts}, Journal) ->
    maps:merge(Journal, Facts);
added({act, Undo}, #{acts := Acts} = Journal) ->
    Journal#{acts := [Undo | Acts]};
added({final, Why}, #{final := Final} = Journal) ->
    Journal#{final := [Why | Final]};
added({leads_back, ByNew, ByFormer}, #{back_before := Before, back_after := After} = Journal) ->
    Journal#{back_before := ByNew ++ Before, back_after := ByFormer ++ After}.

%% It must not go on while what it did is undone.
end_worker(undefined) ->
    ok;
end_worker(Worker) ->
    Ref = monitor(process, Worker),
    exit(Worker, kill),
    receive {'DOWN', Ref, process, Worker, _} -> ok end.

held(Pids, #state{journal = #{timeout := Timeout}} = State) ->
    case bc_gitops_hot_sys:suspend(Pids, Timeout) of
        {_, []} ->
            {reply, ok, State};
        {_, Silent} ->
            not_suspended(Silent, State)
    end.

suspended(Pids, Save, #state{journal = #{timeout := Timeout} = Journal} = State) ->
    case bc_gitops_hot_sys:suspend(Pids, Save, Timeout) of
        {{There, []}, Saved} ->
            {reply, ok, write(Journal#{suspended := There, saved := Saved}, State)};
        {{_, Silent}, _} ->
            not_suspended(Silent, State)
    end.

not_suspended(Silent, #state{journal = Journal} = State) ->
    {reply, {error, {not_suspended, silent(Silent)}}, write(Journal#{silent := Silent}, State)}.

silent(Pids) ->
    #{processes => [{Pid, bc_gitops_hot_processes:describe(Pid)} || Pid <- Pids]}.

begun(Changes, #state{journal = #{begun := Before} = Journal} = State) ->
    Begun = lists:usort([Pid || {Pid, _, _, _} <- Changes]),
    write(Journal#{begun := Begun ++ Before}, State).

changed(Changes, #state{journal = #{timeout := Timeout} = Journal} = State) ->
    case bc_gitops_hot_sys:change_code(Changes, Timeout) of
        [] ->
            {reply, ok, State};
        [{Pid, Module, Why} | _] = Failed ->
            Silent = [P || {P, _, timeout} <- Failed],
            Unchanged = [P || {P, _, _} <- Failed] -- Silent,
            {reply, {error, {code_change_failed, #{process => Pid, module => Module, reason => Why,
                                                   failed => length(Failed)}}},
             write(Journal#{silent := Silent, unchanged := Unchanged}, State)}
    end.

%% Those whose former states are known are asked for the present ones: where these are the same when
%% it comes to an undo, the former ones are right again.
resumed(Look, #state{journal = Journal} = State) ->
    #{suspended := Pids, held := Held, begun := Begun, saved := Saved} = Journal,
    #{timeout := Timeout} = Journal,
    Known = case Look of
        true -> maps:keys(maps:with(Begun, Saved));
        false -> []
    end,
    case bc_gitops_hot_sys:resume(lists:usort(Pids ++ Held), Known, Timeout) of
        {{_, []}, Changed} -> {reply, ok, write(Journal#{changed := Changed}, State)};
        {{_, Silent}, _} -> {reply, {error, {not_resumed, silent(Silent)}},
                             write(Journal#{silent := Silent}, State)}
    end.

%% States stay out of the table.
write(Journal, #state{table = Table} = State) ->
    true = ets:insert(Table, {journal, Journal#{saved := #{}, changed := #{}}}),
    State#state{journal = Journal}.

answer(Result, #state{owner = Owner, tag = Tag}) ->
    Owner ! {Tag, Result},
    ok.

undone(Reason, Journal) ->
    case bc_gitops_hot_undo:undo(Journal) of
        undone -> {undone, Reason};
        {restart, Problems} -> {restart, {not_undone, #{reason => Reason, problems => Problems}}}
    end.

%%% The worker

work(Work, Journal, Owner, Tag) ->
    Ref = monitor(process, Journal),
    Outcome = try
        Work(Journal)
    catch
        exit:{_, {gen_server, call, [Journal | _]}} -> {failed, {upgrade_killed, #{}}};
        Class:Reason:Stack -> {failed, {upgrade_crashed, #{reason => {Class, Reason, Stack}}}}
    end,
    try
        ok = gen_server:call(Journal, Outcome, infinity)
    catch
        exit:_ -> inherit(Outcome, Ref, Owner, Tag)
    end.

inherit({done, Result}, _Ref, Owner, Tag) ->
    Owner ! {Tag, Result};
inherit({failed, Reason}, Ref, Owner, Tag) ->
    receive {'DOWN', Ref, process, _, _} -> ok end,
    receive
        {'ETS-TRANSFER', Table, _, journal} ->
            [{journal, Journal}] = ets:lookup(Table, journal),
            Owner ! {Tag, undone(Reason, Journal)}
    after 0 ->
        ok
    end.
