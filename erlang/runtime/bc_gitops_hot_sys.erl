%%% @doc System messages to many processes at once: some are asked at a time, and the next ones as
%%% these answer, so that nobody waits for one that does not, and few messages wait for us.
%%%
%%% A round of requests is made through one alias, so that what answers after the deadline leaves no
%%% message.
-module(bc_gitops_hot_sys).

-export([suspend/2, suspend/3, resume/2, resume/3, states/2, restore/2, change_code/2]).
-export([children/2, modules/2]).
%% a callback of sys
-export([system_continue/3]).

-export_type([kind/0, change/0]).

%% the tag of a request through an alias is one
-dialyzer({no_improper_lists, send/3}).

%% What `sys:get_state/1' answers for: a manager of gen_event has one state for each handler.
-type kind() :: gen_event | other.
-type change() :: {pid(), module(), Vsn :: term(), Extra :: term()}.
-type answers(Answer) :: [{pid(), {ok, Answer} | gone | silent}].

%% So many requests are under way, and so many more for each time, in ms, that nobody answers.
-define(WINDOW, 32).
-define(STALLED, 5).

%% @doc Suspends; `{Suspended, Silent}'. Those that are gone are in neither.
-spec suspend([pid()], timeout()) -> {[pid()], [pid()]}.
suspend(Pids, Timeout) ->
    sort(system(Pids, suspend, Timeout)).

%% @doc Suspends, and asks some of them for their states at the same time.
-spec suspend([pid()], Save :: [pid()], timeout()) -> {{[pid()], [pid()]}, #{pid() => term()}}.
suspend(Pids, Save, Timeout) ->
    both(Pids, Save, fun(Pid) -> [request(Pid, suspend), look(Pid)] end, suspend, Timeout).

%% @doc Resumes, and has some of them tell their states just before.
-spec resume([pid()], Keep :: [pid()], timeout()) -> {{[pid()], [pid()]}, #{pid() => term()}}.
resume(Pids, Keep, Timeout) ->
    both(Pids, Keep, fun(Pid) -> [look(Pid), request(Pid, resume)] end, resume, Timeout).

%% Two requests that a process finds together cost little more than one.
both(Pids, Those, Two, One, Timeout) ->
    Which = maps:from_keys(Those, true),
    Requests = [Request || Pid <- Pids, Request <- case Which of
        #{Pid := true} -> Two(Pid);
        #{} -> [request(Pid, One)]
    end],
    {Looks, Answers} = lists:partition(fun({Key, _}) -> is_tuple(Key) end, ask(Requests, Timeout)),
    {sort(Answers), told([{Pid, Answer} || {{state, Pid}, Answer} <- Looks])}.

look(Pid) ->
    {{state, Pid}, Pid, system, get_state}.

%% @doc Resumes. What was not suspended goes on as it did.
-spec resume([pid()], timeout()) -> {[pid()], Silent :: [pid()]}.
resume(Pids, Timeout) ->
    sort(system(Pids, resume, Timeout)).

sort(Answers) ->
    {[Pid || {Pid, {ok, _}} <- Answers], [Pid || {Pid, silent} <- Answers]}.

%% @doc The states of suspended processes, of those that have one and tell it.
-spec states([pid()], timeout()) -> #{pid() => term()}.
states(Pids, Timeout) ->
    told(system(Pids, get_state, Timeout)).

told(Answers) ->
    Told = way_of_telling(),
    maps:from_list([{Pid, State} || {Pid, {ok, Answer}} <- Answers, not is_refused(Answer),
                                    {ok, State} <- [state(Told, Answer)]]).

is_refused({error, {callback_failed, _, _}}) -> true;
is_refused(_Answer) -> false.

state(marked, {ok, State}) -> {ok, State};
state(marked, _Other) -> error;
state(bare, State) -> {ok, State}.

%% In OTP 25 a state stands for itself in the answer, in OTP 27 it is marked with `ok'. As any state
%% may look like that, `sys' is asked itself.
way_of_telling() ->
    Tag = make_ref(),
    From = {self(), Tag},
    _ = spawn(fun() -> sys:handle_system_msg(get_state, From, self(), ?MODULE, [], none) end),
    receive
        {Tag, {ok, none}} -> marked;
        {Tag, none} -> bare
    end.

%% @private
-spec system_continue(pid(), [sys:dbg_opt()], none) -> ok.
system_continue(_Parent, _Debug, none) ->
    ok.

%% @doc Gives processes their former states; answers those that did not take theirs.
-spec restore([{pid(), kind(), State :: term()}], timeout()) -> [pid()].
restore(Saved, Timeout) ->
    Requests = [{Pid, Pid, system, {replace_state, replacement(Kind, State)}}
                || {Pid, Kind, State} <- Saved],
    [Pid || {Pid, Answer} <- ask(Requests, Timeout), not is_taken(Answer)].

is_taken({ok, Answer}) -> not is_refused(Answer);
is_taken(gone) -> true;
is_taken(silent) -> false.

replacement(other, State) ->
    fun(_Present) -> State end;
replacement(gen_event, Handlers) ->
    fun({Module, Id, _Present} = Handler) ->
        case [Saved || {M, I, _} = Saved <- Handlers, M =:= Module, I =:= Id] of
            [Saved | _] -> Saved;
            [] -> Handler
        end
    end.

%% @doc Has suspended processes change their states; answers those that did not, and why. A process
%% takes one change after the other.
-spec change_code([change()], timeout()) -> [{pid(), module(), Why :: term()}].
change_code([], _Timeout) ->
    [];
change_code(Changes, Timeout) ->
    {Now, Later} = one_each(Changes),
    Answers = ask([{{Pid, Module}, Pid, system, {change_code, Module, Vsn, Extra}}
                   || {Pid, Module, Vsn, Extra} <- Now], Timeout),
    case [{Pid, Module, Why} || {{Pid, Module}, Answer} <- Answers,
                                {failed, Why} <- [outcome(Answer)]] of
        [] -> change_code(Later, Timeout);
        Failed -> Failed
    end.

outcome({ok, ok}) -> changed;
outcome({ok, {error, Why}}) -> {failed, bare(Why)};
outcome({ok, Other}) -> {failed, Other};
outcome(gone) -> gone;
outcome(silent) -> {failed, timeout}.

bare({error, Why}) -> Why;
bare(Why) -> Why.

one_each(Changes) ->
    Sorted = lists:keysort(1, Changes),
    case lists:ukeysort(1, Sorted) of
        Now when length(Now) =:= length(Sorted) -> {Changes, []};
        Now -> {Now, Changes -- Now}
    end.

%% @doc The children of supervisors.
-spec children([pid()], timeout()) -> answers([{term(), pid() | atom(), worker | supervisor,
                                                dynamic | [module()]}]).
children(Supervisors, Timeout) ->
    ask([{Pid, Pid, '$gen_call', which_children} || Pid <- Supervisors], Timeout).

%% @doc The callback modules of processes whose child specification says `dynamic'.
-spec modules([pid()], timeout()) -> answers([module()]).
modules(Pids, Timeout) ->
    ask([{Pid, Pid, self(), get_modules} || Pid <- Pids], Timeout).

%%% Many requests, one deadline

system(Pids, Request, Timeout) ->
    ask(requests(Pids, Request), Timeout).

requests(Pids, Request) ->
    [request(Pid, Request) || Pid <- Pids].

request(Pid, Request) ->
    {Pid, Pid, system, Request}.

%% Requests have a key each, by which they are answered.
ask(Requests, Timeout) ->
    Alias = alias(),
    {Now, Later} = split(Requests),
    Answers = gather(Alias, send_all(Alias, Now, #{}), Later, [], deadline(Timeout)),
    true = unalias(Alias),
    ok = flush(Alias),
    Answers.

split(Requests) when length(Requests) =< ?WINDOW -> {Requests, []};
split(Requests) -> lists:split(?WINDOW, Requests).

send_all(Alias, Requests, Pending) ->
    lists:foldl(fun(Request, All) -> send(Alias, Request, All) end, Pending, Requests).

send(Alias, {Key, Pid, Label, Request}, Pending) ->
    Pid ! {Label, {self(), [[alias | Alias] | Key]}, Request},
    Pending#{Key => Pid}.

%% Who answers makes room for the next one; who does not keeps nobody from being asked.
gather(_Alias, Pending, [], Answers, _Deadline) when map_size(Pending) =:= 0 ->
    Answers;
gather(Alias, Pending, Later, Answers, Deadline) ->
    receive
        {[[alias | Alias] | Key], Answer} ->
            next(Alias, maps:remove(Key, Pending), Later, [{Key, {ok, Answer}} | Answers], Deadline)
    after ?STALLED ->
        stalled(Alias, Pending, Later, Answers, Deadline)
    end.

next(Alias, Pending, [Request | Later], Answers, Deadline) ->
    gather(Alias, send(Alias, Request, Pending), Later, Answers, Deadline);
next(Alias, Pending, [], Answers, Deadline) ->
    gather(Alias, Pending, [], Answers, Deadline).

%% What a process sent before it died is there already.
stalled(Alias, Pending, Later, Answers, Deadline) ->
    Gone = [Key || {Key, Pid} <- maps:to_list(Pending), not is_process_alive(Pid)],
    More = [{Key, answer_of(Alias, Key)} || Key <- Gone] ++ Answers,
    Left = maps:without(Gone, Pending),
    case {Later, left(Deadline)} of
        {[], 0} ->
            [{Key, silent} || Key <- maps:keys(Left)] ++ More;
        _ ->
            {Now, Rest} = split(Later),
            gather(Alias, send_all(Alias, Now, Left), Rest, More, Deadline)
    end.

answer_of(Alias, Key) ->
    receive
        {[[alias | Alias] | Key], Answer} -> {ok, Answer}
    after 0 -> gone
    end.

flush(Alias) ->
    receive
        {[[alias | Alias] | _], _} -> flush(Alias)
    after 0 -> ok
    end.

deadline(infinity) -> infinity;
deadline(Timeout) -> erlang:monotonic_time(millisecond) + Timeout.

left(infinity) -> infinity;
left(Deadline) -> max(0, Deadline - erlang:monotonic_time(millisecond)).
