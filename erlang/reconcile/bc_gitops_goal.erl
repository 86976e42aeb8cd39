%%% @doc What one app is to become, as one cycle (or one call by hand) sees it. Pure.
%%%
%%% A goal says where to arrive, not how: the action follows from what runs at the time it begins,
%%% so that a goal which had to wait for a switch is still right afterwards.
-module(bc_gitops_goal).

-include("bc_gitops.hrl").

-export([apply/3, remove/2, blocked/3, none/2, restore/2]).
-export([new_seq/0, since/2, same/2, refreshed/2, action/2, way/3, target/2, lock/2, revision_id/1, depends_on/1]).
-export([quarantine_id/1, is_quarantined/2, learn/2, satisfied_by/2]).

-export_type([goal/0, step/0]).

-type what() :: apply | remove | blocked | none | restore.
-type step() :: deploy | upgrade | reconfigure | remove | restore.
-type goal() :: #{
    what := what(),
    name := atom(),
    seq := non_neg_integer(),                 % the cycle or call that it comes from
    origin := git | manual,
    by_hand := boolean(),                     % what was given up may be tried once more
    commit := binary() | undefined,
    'after' := [atom()],                      % these must have arrived first
    reasons := [term()],
    share := pos_integer(),                   % how many goals may stand in one queue before this one
    spec => #app_spec{},
    dir => binary() | undefined,
    source_fp => binary(),
    env_fp => binary(),
    wanted => binary() | unknown,             % the commit that the source's ref names now
    pin => boolean(),                         % holds until the next commit
    reason => term()                          % why it is blocked
}.

%% @doc The number of the next cycle or call; also of any other moment among them.
-spec new_seq() -> pos_integer().
new_seq() ->
    erlang:unique_integer([monotonic, positive]).

%% @doc A goal as it is to be read once an app has landed: what an earlier look found is said of what ran
%% then.
-spec since(Landed :: non_neg_integer(), goal()) -> goal().
since(Landed, #{seq := Seq, reasons := Reasons} = Goal) when Seq < Landed ->
    Goal#{reasons := Reasons -- [stopped, drift, unhealthy]};
since(_Landed, Goal) ->
    Goal.

%% @doc Spec shall run.
-spec apply(#app_spec{}, Meta :: map(), Common :: map()) -> goal().
apply(#app_spec{name = Name} = Spec, #{source_fp := SourceFp, env_fp := EnvFp} = Meta, Common) ->
    maps:merge(
        base(apply, Name, Common),
        #{
            spec => Spec, dir => maps:get(dir, Meta, undefined), source_fp => SourceFp,
            env_fp => EnvFp, wanted => maps:get(wanted, Common, unknown),
            pin => maps:get(pin, Common, false)
        }
    ).

%% @doc Nothing of the app shall be here.
-spec remove(atom(), Common :: map()) -> goal().
remove(Name, Common) ->
    base(remove, Name, Common).

%% @doc The plan cannot say what to do with the app: what runs stays.
-spec blocked(atom(), Reason :: term(), Common :: map()) -> goal().
blocked(Name, Reason, Common) ->
    (base(blocked, Name, Common))#{reason => Reason}.

%% @doc There is nothing to do: work under way for an older goal ends.
-spec none(atom(), Common :: map()) -> goal().
none(Name, Common) ->
    base(none, Name, Common).

%% @doc What last ran well shall run again, from the store.
-spec restore(atom(), Common :: map()) -> goal().
restore(Name, Common) ->
    base(restore, Name, Common).

base(What, Name, Common) ->
    Defaults = #{
        seq => 0, origin => git, by_hand => false, commit => undefined, 'after' => [],
        reasons => [], share => 1
    },
    Known = maps:with(maps:keys(Defaults), Common),
    maps:merge(Defaults, Known#{what => What, name => Name}).

%% @doc Whether two goals lead to the same place. A ref whose commit is not known yet may be any.
-spec same(goal(), goal()) -> boolean().
same(#{what := apply} = A, #{what := apply} = B) ->
    identity(A) =:= identity(B) andalso compatible(maps:get(wanted, A), maps:get(wanted, B));
same(#{what := blocked, reason := Reason}, #{what := blocked, reason := Reason}) ->
    true;
same(#{what := What}, #{what := What}) ->
    What =/= blocked;
same(_, _) ->
    false.

identity(#{spec := Spec, source_fp := SourceFp, env_fp := EnvFp}) ->
    {Spec#app_spec.version, SourceFp, EnvFp, Spec#app_spec.isolation}.

compatible(unknown, _) -> true;
compatible(_, unknown) -> true;
compatible(A, B) -> A =:= B.

%% @doc The newer of two goals that are the same, with what the older one knew.
-spec refreshed(Newer :: goal(), goal()) -> goal().
refreshed(#{wanted := unknown} = Newer, #{wanted := Wanted}) -> Newer#{wanted := Wanted};
refreshed(Newer, _Older) -> Newer.

%% @doc What has to be done to arrive, with the revision it leads to and what is prepared for it;
%% `undefined' when nothing is. Confirmed is what last ran well.
-spec way(goal(), Running :: bc_gitops_state:revision() | undefined,
          Confirmed :: bc_gitops_state:revision() | undefined) ->
    none | {step(), Target :: bc_gitops_state:revision() | undefined, Prepared :: map() | undefined}.
way(Goal, Running, Confirmed) ->
    case action(Goal, Running) of
        none ->
            none;
        restore ->
            {restore, Confirmed, #{}};
        remove ->
            {remove, undefined, #{}};
        reconfigure ->
            Kept = maps:with([key, revision, lock], Running),
            {reconfigure, target(Goal, Kept), Kept};
        Action ->
            {Action, target(Goal, #{}), undefined}
    end.

%% @doc What has to be done to arrive, given what runs (`undefined': nothing).
-spec action(goal(), bc_gitops_state:revision() | undefined) -> step() | none.
action(#{what := restore}, _Running) ->
    restore;
action(#{what := remove}, _Running) ->
    remove;
action(#{what := apply}, undefined) ->
    deploy;
action(#{what := apply} = Goal, Running) ->
    case {same_code(Goal, Running), Goal} of
        {false, _} -> upgrade;
        {true, #{env_fp := EnvFp}} when EnvFp =/= map_get(env_fp, Running) -> reconfigure;
        {true, _} -> none
    end.

same_code(#{spec := Spec, source_fp := SourceFp, reasons := Reasons} = Goal, Running) ->
    #{version := Version, source_fp := RunningFp, spec := RunningSpec} = Running,
    Spec#app_spec.version =:= Version andalso
        SourceFp =:= RunningFp andalso
        Spec#app_spec.isolation =:= RunningSpec#app_spec.isolation andalso
        compatible(maps:get(wanted, Goal), known(maps:get(revision, Running))) andalso
        not lists:member(drift, Reasons) andalso
        not lists:member(unhealthy, Reasons).

known(undefined) -> unknown;
known(Revision) -> Revision.

%% @doc Whether the goal has been reached by what runs.
-spec satisfied_by(goal(), bc_gitops_state:revision() | undefined) -> boolean().
satisfied_by(#{what := apply} = Goal, Running) -> action(Goal, Running) =:= none;
satisfied_by(_Goal, _Running) -> false.

%% @doc The revision that a goal leads to, with what preparing it has told.
-spec target(goal(), Prepared :: map()) -> bc_gitops_state:revision().
target(#{spec := Spec, source_fp := SourceFp, env_fp := EnvFp}, Prepared) ->
    #{
        version => Spec#app_spec.version, spec => Spec, source_fp => SourceFp, env_fp => EnvFp,
        key => maps:get(key, Prepared, undefined), revision => maps:get(revision, Prepared, undefined),
        lock => maps:get(lock, Prepared, undefined)
    }.

%% @doc The packages that were chosen for the same version and source before: the same commit builds
%% the same code, whatever was published since. Of another version those that may stay.
-spec lock(goal(), [bc_gitops_state:revision() | undefined]) -> bc_gitops_runtime:options().
lock(#{spec := #app_spec{version = Version}, source_fp := SourceFp}, Revisions) ->
    Locked = [{V =:= Version andalso Fp =:= SourceFp, Lock}
              || #{version := V, source_fp := Fp, lock := [_ | _] = Lock} <- Revisions],
    case {lists:keyfind(true, 1, Locked), Locked} of
        {{true, Lock}, _} -> #{lock => Lock};
        {false, [{false, Lock} | _]} -> #{prefer => Lock};
        {false, []} -> #{}
    end.

%% @doc What tells a revision's spec from another, as in `quarantine_id/1'.
-spec revision_id(bc_gitops_state:revision()) -> term().
revision_id(#{spec := _, source_fp := _, env_fp := _} = Revision) ->
    identity(Revision).

%% @doc The apps that a revision needs.
-spec depends_on(bc_gitops_state:revision()) -> [atom()].
depends_on(#{spec := #app_spec{depends_on = DependsOn}}) ->
    DependsOn.

%% @doc What a quarantine is for: this spec at this revision of its source.
-spec quarantine_id(goal()) -> {term(), binary() | unknown}.
quarantine_id(#{what := apply, wanted := Wanted} = Goal) ->
    {identity(Goal), Wanted};
quarantine_id(#{what := What}) ->
    {What, unknown}.

%% @doc Whether this goal was given up before.
-spec is_quarantined(goal(), bc_gitops_state:quarantine() | undefined) -> boolean().
is_quarantined(_Goal, undefined) ->
    false;
is_quarantined(Goal, #{id := {Identity, Wanted}}) ->
    {GoalIdentity, GoalWanted} = quarantine_id(Goal),
    Identity =:= GoalIdentity andalso compatible(Wanted, GoalWanted).

%% @doc A quarantine from a time when the ref's commit was not known learns it from the goal, so
%% that a later commit lifts it.
-spec learn(goal(), bc_gitops_state:quarantine()) -> bc_gitops_state:quarantine().
learn(#{wanted := Wanted}, #{id := {Identity, unknown}} = Quarantine) ->
    Quarantine#{id := {Identity, Wanted}};
learn(_Goal, Quarantine) ->
    Quarantine.
