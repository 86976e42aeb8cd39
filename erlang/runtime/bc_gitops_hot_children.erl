%%% @doc What a supervisor's `init/1' says before and after its code changed, and making the
%%% children that run follow. `supervisor:code_change/3' takes over the new specifications, but
%%% starts no new child and stops none that left.
%%%
%%% Children that were started by hand, and those of a simple_one_for_one, stay as they are.
-module(bc_gitops_hot_children).

-export([read/4, difference/2, start/3, stop/3, replace/3]).

-import(bc_gitops_steps, [each/2]).

-export_type([seen/0, difference/0]).

%% `none' is a supervisor whose children do not come from init/1.
-type seen() :: none | #{flags := term(), specs := [map()]}.
-type difference() :: #{added := [term()], replaced := [term()], removed := [term()]}.
-type failure() :: {error, {Kind :: atom(), map()}}.

%% @doc What init/1 of the loaded code says for a supervisor. It runs in a process of the same
%% application, so that what it asks for is answered as it would be in the supervisor.
-spec read(pid(), module(), State :: term(), timeout()) -> {ok, seen()} | failure().
read(Pid, Module, State, Timeout) ->
    case arguments(Module, State) of
        {ok, Args} -> init(Pid, Module, Args, Timeout);
        none -> {ok, none}
    end.

%% The record of OTP's supervisor ends with its callback module and the argument of init/1. Others,
%% such as Elixir's DynamicSupervisor, have no children in their init/1.
arguments(Module, State) when is_tuple(State), tuple_size(State) > 2, element(1, State) =:= state ->
    Size = tuple_size(State),
    case element(Size - 1, State) of
        Module -> {ok, element(Size, State)};
        _ -> none
    end;
arguments(_Module, _State) ->
    none.

init(Pid, Module, Args, Timeout) ->
    {group_leader, Leader} = process_info(Pid, group_leader),
    Init = fun() -> group_leader(Leader, self()), Module:init(Args) end,
    case bc_gitops_app_control:with_deadline(Init, Timeout, #{module => Module}) of
        {ok, {ok, {Flags, Specs}}} -> checked(Module, Flags, Specs);
        {ok, Other} -> unreadable(Module, {bad_return, Other});
        {error, {timeout, _}} -> unreadable(Module, timeout);
        {error, {crashed, #{reason := Reason}}} -> unreadable(Module, Reason)
    end.

unreadable(Module, Reason) ->
    {error, {supervisor_init_failed, #{module => Module, reason => Reason}}}.

checked(Module, Flags, Specs) ->
    case supervisor:check_childspecs(Specs) of
        ok -> {ok, #{flags => flags(Flags), specs => [spec(Spec) || Spec <- Specs]}};
        {error, Reason} -> unreadable(Module, Reason)
    end.

flags({Strategy, Intensity, Period}) ->
    flags(#{strategy => Strategy, intensity => Intensity, period => Period});
flags(#{} = Flags) ->
    Defaults = #{strategy => one_for_one, intensity => 1, period => 5, auto_shutdown => never},
    maps:merge(Defaults, Flags).

spec({Id, Start, Restart, Shutdown, Type, Modules}) ->
    #{id => Id, start => Start, restart => Restart, shutdown => Shutdown, type => Type,
      modules => Modules};
spec(#{} = Spec) ->
    Spec.

%% @doc What is to become of the children. Other flags, or another kind of supervisor, are no change
%% for a running one.
-spec difference(seen(), seen()) -> {ok, difference()} | {error, flags}.
difference(#{flags := Flags, specs := Old}, #{flags := Flags, specs := New}) ->
    case Flags of
        #{strategy := simple_one_for_one} -> {ok, none_differs()};
        _ -> {ok, difference_of(starts(Old), starts(New), [Id || #{id := Id} <- New])}
    end;
difference(none, none) ->
    {ok, none_differs()};
difference(_, _) ->
    {error, flags}.

none_differs() ->
    #{added => [], replaced => [], removed => []}.

%% In the order in which init/1 names them.
difference_of(Old, New, Order) ->
    #{
        added => [Id || Id <- Order, not is_map_key(Id, Old)],
        replaced => [Id || Id <- Order, is_map_key(Id, Old), map_get(Id, Old) =/= map_get(Id, New)],
        removed => maps:keys(maps:without(Order, Old))
    }.

starts(Specs) ->
    maps:from_list([{Id, Start} || #{id := Id, start := Start} <- Specs]).

%% @doc Starts children whose specifications the supervisor has.
-spec start(pid(), [term()], timeout()) -> ok | failure().
start(Supervisor, Ids, Timeout) ->
    each(Ids, fun(Id) ->
        case within(fun() -> supervisor:restart_child(Supervisor, Id) end, Timeout) of
            {ok, _} -> ok;
            {ok, _, _} -> ok;
            {error, running} -> ok;
            {error, Reason} -> {error, {child_not_started, #{child => Id, process => Supervisor,
                                                             reason => Reason}}}
        end
    end).

%% @doc Stops children and has them forgotten.
-spec stop(pid(), [term()], timeout()) -> ok | failure().
stop(Supervisor, Ids, Timeout) ->
    each(Ids, fun(Id) ->
        case within(fun() -> forget(Supervisor, Id) end, Timeout) of
            ok -> ok;
            {error, not_found} -> ok;
            {error, Reason} -> {error, {child_not_stopped, #{child => Id, process => Supervisor,
                                                             reason => Reason}}}
        end
    end).

forget(Supervisor, Id) ->
    case supervisor:terminate_child(Supervisor, Id) of
        ok -> supervisor:delete_child(Supervisor, Id);
        Error -> Error
    end.

%% @doc Starts children anew whose specifications the supervisor has.
-spec replace(pid(), [term()], timeout()) -> ok | failure().
replace(Supervisor, Ids, Timeout) ->
    each(Ids, fun(Id) ->
        case within(fun() -> supervisor:terminate_child(Supervisor, Id) end, Timeout) of
            ok -> start(Supervisor, [Id], Timeout);
            {error, Reason} -> {error, {child_not_stopped, #{child => Id, process => Supervisor,
                                                             reason => Reason}}}
        end
    end).

within(Fun, Timeout) ->
    case bc_gitops_app_control:with_deadline(Fun, Timeout, #{}) of
        {ok, Answer} -> Answer;
        {error, {timeout, _}} -> {error, timeout};
        {error, {crashed, #{reason := Reason}}} -> {error, Reason}
    end.
