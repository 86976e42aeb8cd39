%%% @doc What others see of a managed app: its rows in the registry and its telemetry events.
-module(bc_gitops_app_view).

-include("bc_gitops.hrl").

-export([publish/1, begun/1, ended/3]).

-export_type([view/0, attempt/0]).

-type view() :: #{
    state := bc_gitops_registry:app_state_name(),
    pid := pid(),
    store := bc_gitops_state:app(),
    app := #app_state{} | undefined,
    goal := bc_gitops_goal:goal() | undefined,
    error := term(),
    attempts := non_neg_integer(),
    retry_at := integer() | undefined,
    action := bc_gitops_goal:step() | undefined,
    waits_for := [atom()]
}.

%% What events tell of an attempt.
-type attempt() :: #{
    action := bc_gitops_goal:step(),
    target := bc_gitops_state:revision() | undefined,
    running := bc_gitops_state:revision() | undefined,
    store := bc_gitops_state:app(),
    runtime := module(),
    how => map()                            % an upgrade ended: how new code took the place of old code
}.

%% @doc Writes both rows.
-spec publish(view()) -> ok.
publish(#{state := State, pid := Pid, store := #{name := Name} = Store, app := App} = View) ->
    Shown = app_state(View),
    Row = #{
        name => Name, pid => Pid, state => State, health => Shown#app_state.health,
        current => current(App, Store), watch => watch(App, Store), pinned => maps:get(pinned, Store)
    },
    bc_gitops_registry:put_app(Row, Shown, spec(App, View)).

spec(undefined, #{goal := Goal, store := Store}) -> wanted(Goal, Store);
spec(_App, #{store := Store}) -> running_spec(Store).

%% As bc_gitops_native:plan/3 takes it. What ran well before counts as stopped, so that it is started
%% again, or removed when it is not wanted any more.
current(undefined, #{confirmed := undefined}) -> undefined;
current(undefined, #{confirmed := Confirmed} = Store) -> current_tuple(stopped, Confirmed, Store);
current(_App, #{current := Current} = Store) when Current =/= undefined ->
    current_tuple(running, Current, Store);
current(_App, _Store) -> undefined.

current_tuple(Status, Revision, #{name := Name, dir := Dir}) ->
    #{version := Version, source_fp := SourceFp, env_fp := EnvFp, spec := Spec} = Revision,
    #app_spec{isolation = Isolation, depends_on = DependsOn} = Spec,
    {Name, Dir, Status, Version, SourceFp, EnvFp, Isolation, DependsOn, []}.

watch(_App, #{current := #{revision := Revision, spec := #app_spec{source = Source}}})
        when is_binary(Revision) ->
    case Source of
        #source_spec{type = git, url = Url, ref = Ref} when is_binary(Url), is_binary(Ref) ->
            {Url, Ref, Revision};
        _ ->
            undefined
    end;
watch(_App, _Store) ->
    undefined.

app_state(#{state := State, app := undefined, store := #{name := Name} = Store, goal := Goal} = View) ->
    Wanted = wanted(Goal, Store),
    App = #app_state{name = Name, version = version(Wanted), status = status(State, undefined)},
    describe(App#app_state{details = details(View, undefined)}, Wanted);
app_state(#{state := State, app := App, store := Store} = View) ->
    #app_state{version = Version, details = FromRuntime} = App,
    Details = maps:merge(FromRuntime, details(View, Version)),
    Shown = App#app_state{status = status(State, View), details = Details},
    describe(Shown, running_spec(Store)).

describe(App, undefined) ->
    App;
describe(App, #app_spec{description = Description, icon = Icon, isolation = Isolation}) ->
    App#app_state{description = Description, icon = Icon, isolation = Isolation}.

wanted(#{spec := Spec}, _Store) -> Spec;
wanted(_Goal, #{confirmed := #{spec := Spec}}) -> Spec;
wanted(_Goal, _Store) -> undefined.

running_spec(#{current := #{spec := Spec}}) -> Spec;
running_spec(_Store) -> undefined.

version(#app_spec{version = Version}) -> Version;
version(undefined) -> <<>>.

%% 0.7's words for the states: of what runs first, of what is to run else.
status(switching, #{action := upgrade}) -> upgrading;
status(_State, #{}) -> running;
status(State, undefined) when State =:= preparing; State =:= switching; State =:= verifying -> starting;
status(State, undefined) when State =:= backing_off; State =:= quarantined -> failed;
status(State, undefined) when State =:= failed; State =:= removing -> stopped;
status(_State, undefined) -> pending.

details(View, RunningVersion) ->
    #{state := State, store := Store, goal := Goal, error := Error, attempts := Attempts} = View,
    #{retry_at := RetryAt, waits_for := WaitsFor} = View,
    #{commit := Commit, origin := Origin, history := History, pinned := Pinned} = Store,
    #{current := Current, confirmed := Confirmed, previous := Previous, quarantine := Quarantine} = Store,
    #{
        state => State,
        origin => Origin,
        running_version => RunningVersion,
        desired_version => goal_version(Goal, RunningVersion),
        commit => Commit,
        revision => field(revision, Current),
        build => field(key, Current),
        lock => field(lock, Current),
        confirmed_version => field(version, Confirmed),
        previous_version => field(version, Previous),
        pinned => Pinned,
        attempts => Attempts,
        waits_for => WaitsFor,
        next_retry => next_retry(State, RetryAt),
        last_error => last_error(Error, State),
        quarantined => quarantined(Quarantine),
        history => History
    }.

goal_version(#{what := apply, spec := #app_spec{version = Version}}, _Running) -> Version;
goal_version(#{what := remove}, _Running) -> undefined;
goal_version(_Goal, Running) -> Running.

field(_Key, undefined) -> undefined;
field(Key, Revision) -> maps:get(Key, Revision, undefined).

%% Universal time, as everywhere in #app_state{}.
next_retry(backing_off, RetryAt) when is_integer(RetryAt) ->
    Left = max(0, RetryAt - erlang:monotonic_time(millisecond)),
    calendar:system_time_to_universal_time(erlang:system_time(millisecond) + Left, millisecond);
next_retry(_State, _RetryAt) ->
    undefined.

last_error(undefined, _State) ->
    undefined;
last_error(Reason, State) ->
    #{reason => Reason, message => bc_gitops_failure:describe(Reason), what_next => what_next(State)}.

what_next(backing_off) -> <<"tried again at next_retry, or at once by bc_gitops:reconcile/0">>;
what_next(quarantined) ->
    <<"change its spec or its source; bc_gitops:reconcile/0 tries once more, "
      "bc_gitops:build_log/1 shows what a build said">>;
what_next(pending) -> <<"starts as soon as its dependency runs">>;
what_next(suspended) -> <<"change the specs it names">>;
what_next(failed) -> <<"started again by the next cycle">>;
what_next(_State) -> <<"an attempt is under way">>.

quarantined(undefined) -> undefined;
quarantined(#{reason := Reason, at := At}) -> #{reason => bc_gitops_failure:describe(Reason), since => At}.

%% events

-spec begun(attempt()) -> ok.
begun(Attempt) ->
    execute(start, #{system_time => erlang:system_time()}, metadata(Attempt), Attempt).

%% @doc Duration is in native time.
-spec ended(ok | {error, term()}, Duration :: integer(), attempt()) -> ok.
ended(Result, Duration, Attempt) ->
    How = maps:get(how, Attempt, #{}),
    execute(stop, #{duration => Duration}, maps:merge(How, (metadata(Attempt))#{result => Result}), Attempt).

execute(Point, Measurements, Metadata, #{action := Action}) ->
    bc_gitops_telemetry:execute([bc_gitops, event_name(Action), Point], Measurements, Metadata).

metadata(#{action := Action, target := Target, running := Running, store := Store, runtime := Runtime}) ->
    #{name := Name, commit := Commit} = Store,
    #{
        app => Name, action => Action, runtime => Runtime, isolation => isolation(Target, Store),
        from_version => field(version, Running), to_version => field(version, Target),
        commit => Commit
    }.

%% Of what is or was to be switched on.
isolation(#{spec := #app_spec{isolation = Isolation}}, _Store) -> Isolation;
isolation(undefined, #{current := #{spec := #app_spec{isolation = Isolation}}}) -> Isolation;
isolation(undefined, _Store) -> embedded.

event_name(restore) -> deploy;
event_name(Action) -> Action.
