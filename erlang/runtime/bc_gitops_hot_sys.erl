%%% @doc System messages to many processes at once: all are asked before the first answer is waited
%%% for, so that thousands are suspended, changed and resumed in about the time that one takes.
%%%
%%% Each request is made through an alias, so that what answers after the deadline leaves no message.
-module(bc_gitops_hot_sys).

-export([suspend/2, suspend/3, resume/2, resume/3, states/2, restore/2, change_code/2, children/2, modules/2]).

-export_type([kind/0, change/0]).

%% the tag of a request through an alias is one
-dialyzer({no_improper_lists, send/1}).

%% What `sys:get_state/1' answers for: a manager of gen_event has one state for each handler.
-type kind() :: gen_event | other.
-type change() :: {pid(), module(), Vsn :: term(), Extra :: term()}.
-type answers(Answer) :: #{pid() => {ok, Answer} | gone | silent}.

%% @doc Suspends; `{Suspended, Silent}'. Those that are gone are in neither.
-spec suspend([pid()], timeout()) -> {[pid()], [pid()]}.
suspend(Pids, Timeout) ->
    sort(Pids, system(Pids, suspend, Timeout)).

%% @doc Suspends, and asks some of them for their states at the same time.
-spec suspend([pid()], Save :: [pid()], timeout()) -> {{[pid()], [pid()]}, #{pid() => term()}}.
suspend(Pids, Save, Timeout) ->
    Suspending = send_all(requests(Pids, suspend)),
    Looking = send_all(requests(Save, get_state)),
    Deadline = deadline(Timeout),
    Answers = gather(Suspending, #{}, Deadline),
    {sort(Pids, Answers), told(gather(Looking, #{}, Deadline))}.

%% @doc Resumes, and has some of them tell their states just before.
-spec resume([pid()], Keep :: [pid()], timeout()) -> {{[pid()], [pid()]}, #{pid() => term()}}.
resume(Pids, Keep, Timeout) ->
    Looking = send_all(requests(Keep, get_state)),
    Resuming = send_all(requests(Pids, resume)),
    Deadline = deadline(Timeout),
    Answers = gather(Resuming, #{}, Deadline),
    {sort(Pids, Answers), told(gather(Looking, #{}, Deadline))}.

%% @doc Resumes. What was not suspended goes on as it did.
-spec resume([pid()], timeout()) -> {[pid()], Silent :: [pid()]}.
resume(Pids, Timeout) ->
    sort(Pids, system(Pids, resume, Timeout)).

sort(Pids, Answers) ->
    Which = fun(Wanted) -> [Pid || Pid <- Pids, Wanted(maps:get(Pid, Answers))] end,
    {Which(fun(Answer) -> is_tuple(Answer) end), Which(fun(Answer) -> Answer =:= silent end)}.

%% @doc The states of suspended processes, of those that have one and tell it.
-spec states([pid()], timeout()) -> #{pid() => term()}.
states(Pids, Timeout) ->
    told(system(Pids, get_state, Timeout)).

told(Answers) ->
    maps:from_list([{Pid, State} || {Pid, {ok, State}} <- maps:to_list(Answers),
                                    not is_refused(State)]).

%% A state stands for itself in the answer.
is_refused({error, {callback_failed, _, _}}) -> true;
is_refused(_State) -> false.

%% @doc Gives processes their former states; answers those that did not take theirs.
-spec restore([{pid(), kind(), State :: term()}], timeout()) -> [pid()].
restore(Saved, Timeout) ->
    Requests = [{Pid, system, {replace_state, replacement(Kind, State)}} || {Pid, Kind, State} <- Saved],
    [Pid || {Pid, Answer} <- maps:to_list(ask(Requests, Timeout)), not is_taken(Answer)].

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
    Answers = ask([{Pid, system, {change_code, Module, Vsn, Extra}}
                   || {Pid, Module, Vsn, Extra} <- Now], Timeout),
    Failed = [{Pid, Module, Why} || {Pid, Module, _, _} <- Now,
                                    {failed, Why} <- [outcome(maps:get(Pid, Answers))]],
    case Failed of
        [] -> change_code(Later, Timeout);
        _ -> Failed
    end.

outcome({ok, ok}) -> changed;
outcome({ok, {error, Why}}) -> {failed, bare(Why)};
outcome({ok, Other}) -> {failed, Other};
outcome(gone) -> gone;
outcome(silent) -> {failed, timeout}.

bare({error, Why}) -> Why;
bare(Why) -> Why.

one_each(Changes) ->
    {Now, Later, _} = lists:foldl(
        fun
            ({Pid, _, _, _} = Change, {Now, Later, Seen}) when is_map_key(Pid, Seen) ->
                {Now, [Change | Later], Seen};
            ({Pid, _, _, _} = Change, {Now, Later, Seen}) ->
                {[Change | Now], Later, Seen#{Pid => true}}
        end,
        {[], [], #{}},
        Changes
    ),
    {lists:reverse(Now), lists:reverse(Later)}.

%% @doc The children of supervisors.
-spec children([pid()], timeout()) -> answers([{term(), pid() | atom(), worker | supervisor,
                                                dynamic | [module()]}]).
children(Supervisors, Timeout) ->
    ask([{Pid, '$gen_call', which_children} || Pid <- Supervisors], Timeout).

%% @doc The callback modules of processes whose child specification says `dynamic'.
-spec modules([pid()], timeout()) -> answers([module()]).
modules(Pids, Timeout) ->
    ask([{Pid, self(), get_modules} || Pid <- Pids], Timeout).

%%% Many requests, one deadline

system(Pids, Request, Timeout) ->
    ask(requests(Pids, Request), Timeout).

requests(Pids, Request) ->
    [{Pid, system, Request} || Pid <- Pids].

ask(Requests, Timeout) ->
    gather(send_all(Requests), #{}, deadline(Timeout)).

send_all(Requests) ->
    maps:from_list([{send(Request), Pid} || {Pid, _, _} = Request <- Requests]).

send({Pid, Label, Request}) ->
    Ref = monitor(process, Pid, [{alias, reply_demonitor}]),
    Pid ! {Label, {self(), [alias | Ref]}, Request},
    Ref.

gather(Pending, Answers, _Deadline) when map_size(Pending) =:= 0 ->
    Answers;
gather(Pending, Answers, Deadline) ->
    receive
        {[alias | Ref], Answer} when is_map_key(Ref, Pending) ->
            {Pid, Rest} = maps:take(Ref, Pending),
            gather(Rest, Answers#{Pid => {ok, Answer}}, Deadline);
        {'DOWN', Ref, process, Pid, _} when is_map_key(Ref, Pending) ->
            gather(maps:remove(Ref, Pending), Answers#{Pid => gone}, Deadline)
    after left(Deadline) ->
        maps:fold(fun give_up/3, Answers, Pending)
    end.

%% The answer may have come since.
give_up(Ref, Pid, Answers) ->
    demonitor(Ref, [flush]),
    receive
        {[alias | Ref], Answer} -> Answers#{Pid => {ok, Answer}}
    after 0 -> Answers#{Pid => silent}
    end.

deadline(infinity) -> infinity;
deadline(Timeout) -> erlang:monotonic_time(millisecond) + Timeout.

left(infinity) -> infinity;
left(Deadline) -> max(0, Deadline - erlang:monotonic_time(millisecond)).
