%%% @doc Takes back what a journal says was done, in reverse: children and application data, then
%%% states that only the new code can lead back, the former code, the former states, and at last
%%% everybody is resumed.
%%%
%%% A process that was resumed already may have worked since. It gets its former state only where it
%%% has not; else its `code_change' leads back.
-module(bc_gitops_hot_undo).

-export([new/1, undo/1]).

-export_type([journal/0]).

-type journal() :: #{
    timeout := timeout(),                                     % for one round of system messages
    code := bc_gitops_hot_code:set(),
    kinds := #{pid() => bc_gitops_hot_sys:kind()},
    held := [pid()],                                          % supervisors, to start nothing
    suspended := [pid()],                                     % were asked to suspend
    resumed := boolean(),
    begun := [pid()],                                         % were asked to change their state
    silent := [pid()],
    unchanged := [pid()],                                     % said that they did not
    back_before := [bc_gitops_hot_sys:change()],              % leads back, by the new code
    back_after := [bc_gitops_hot_sys:change()],               % leads back, by the former code
    saved := #{pid() => term()},
    changed := #{pid() => term()},                            % states just after the change
    acts := [fun(() -> ok | {error, term()})],                % last done, first undone
    final := [term()]                                         % done, and cannot be undone
}.

-spec new(timeout()) -> journal().
new(Timeout) ->
    #{timeout => Timeout, code => #{prepared => none, objects => #{}, absent => []},
      kinds => #{}, held => [], suspended => [], resumed => false, begun => [], silent => [],
      unchanged => [], back_before => [], back_after => [], saved => #{}, changed => #{},
      acts => [], final => []}.

%% @doc `undone': old code, old states, the same processes. Else why only a restart of the
%% application leads back; also then nobody is left suspended.
-spec undo(journal()) -> undone | {restart, [term()]}.
undo(#{acts := Acts, final := Final, timeout := Timeout} = Journal) ->
    Failed = [Reason || Act <- Acts, {error, Reason} <- [act(Act, Timeout)]],
    {#{begun := Begun} = Again, Silent} = stop_again(Journal),
    %% One that did not suspend, before anything was loaded, is as it was.
    Lost = [Pid || Pid <- Silent, lists:member(Pid, Begun)],
    Wrong = [{silent, Lost} || Lost =/= []] ++ states(Again#{silent := Silent}),
    #{held := Held, suspended := Suspended} = Journal,
    _ = bc_gitops_hot_sys:resume(lists:usort(Held ++ Suspended) -- Silent, Timeout),
    %% They may yet come to the request to suspend, which lies before them.
    _ = bc_gitops_hot_sys:resume(Silent, 0),
    ok = sweep(Journal),
    case Final ++ Failed ++ Wrong of
        [] -> undone;
        Problems -> {restart, Problems}
    end.

%% What was loaded for a moment.
sweep(#{code := #{objects := Objects, absent := Absent}}) ->
    _ = bc_gitops_hot_code:sweep(maps:keys(Objects) ++ Absent),
    ok.

act(Act, Timeout) ->
    case bc_gitops_app_control:with_deadline(Act, Timeout, #{}) of
        {ok, Result} -> Result;
        {error, _} = Error -> Error
    end.

%% What changed and was resumed is suspended again, and looked at for work it did since.
stop_again(#{resumed := true, begun := [_ | _] = Begun, timeout := Timeout} = Journal) ->
    #{saved := Saved, changed := Changed, silent := Before} = Journal,
    {Pids, Silent} = bc_gitops_hot_sys:suspend(Begun -- Before, Timeout),
    Known = maps:keys(maps:with(Pids, Changed)),
    Now = bc_gitops_hot_sys:states(Known, Timeout),
    Idle = [Pid || Pid <- Known, maps:find(Pid, Now) =:= maps:find(Pid, Changed)],
    {Journal#{saved := maps:with(Idle, Saved)}, Silent ++ Before};
stop_again(#{silent := Silent} = Journal) ->
    {Journal, Silent}.

states(#{silent := Silent, unchanged := Unchanged, saved := Saved, timeout := Timeout} = Journal) ->
    Skip = maps:from_list([{Pid, true} || Pid <- Silent ++ Unchanged ++ maps:keys(Saved)]),
    #{back_before := Before, back_after := After} = Journal,
    Down = failed(change_back(Before, Skip, Timeout)),
    case bc_gitops_hot_code:restore(maps:get(code, Journal)) of
        ok -> Down ++ failed(change_back(After, Skip, Timeout)) ++ give_back(Journal);
        {error, Reason} -> [Reason | Down]
    end.

change_back(Changes, Skip, Timeout) ->
    Due = [Change || {Pid, _, _, _} = Change <- Changes, not is_map_key(Pid, Skip)],
    bc_gitops_hot_sys:change_code(Due, Timeout).

failed(Failures) ->
    [{code_change_failed, #{process => Pid, module => Module, reason => Why, direction => back}}
     || {Pid, Module, Why} <- Failures].

give_back(#{begun := Begun, silent := Silent, saved := Saved, kinds := Kinds} = Journal) ->
    #{timeout := Timeout} = Journal,
    Due = [{Pid, maps:get(Pid, Kinds, other), State}
           || {Pid, State} <- maps:to_list(maps:with(Begun -- Silent, Saved))],
    case bc_gitops_hot_sys:restore(Due, Timeout) of
        [] -> [];
        Pids -> [{state_not_restored, #{processes => Pids}}]
    end.
