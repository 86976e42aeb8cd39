%%% @doc One cycle: follow the repository, read what it wants, compare with what is here, and say what
%%% each app is to become. Changes nothing but the clone.
%%%
%%% When the newest desired state cannot be read, the last one that could be is still compared with
%%% what is here: an app that stopped is started again while the remote is down.
-module(bc_gitops_cycle).

-include("bc_gitops.hrl").

-export([run/1, preview/1]).
-export([goals/2, notes/3, summarize/3, unreadable/2, failures/1]).

-export_type([input/0, outcome/0]).

-type input() :: #{
    config := bc_gitops_config:config(),
    snapshot := bc_gitops_native:snapshot() | undefined,  % of the last cycle
    commit := binary() | undefined,                       % the last one whose specs were read
    identity := map() | undefined,                        % repository of the last run, decisions 15
    needs := bc_gitops_outside:needs() | undefined,       % of the last cycle
    refusal := bc_gitops_refusal:refusal() | undefined,   % that stands since then
    seq := pos_integer(),
    by_hand := boolean()
}.
-type outcome() :: #{
    error := undefined | {desired_state, term()},
    snapshot := bc_gitops_native:snapshot() | undefined,
    commit := binary() | undefined,
    summary := map(),
    plan := map(),
    goals := [bc_gitops_goal:goal()],
    needs := bc_gitops_outside:needs() | undefined,
    refusal := bc_gitops_refusal:refusal() | undefined,
    current_state := known | unknown
}.

%% How long a call by hand waits for the refs of the apps' sources.
-define(REFRESH, 15000).
%% A user's get_current_state/0 that takes longer than this counts as unknown.
-define(CURRENT_STATE, 5000).

-spec run(input()) -> outcome().
run(Input) ->
    Followed = follow(Input),
    compare(Followed, desired(Followed, Input), Input).

%% @doc What a cycle would do with the newest commit, without leaving anything behind: a commit that
%% the clone does not have is fetched into a directory that is removed again.
-spec preview(input()) -> outcome().
preview(#{config := Config, commit := Commit} = Input) ->
    #{branch := Branch, git_timeout := Timeout} = Config,
    Request = #{op => list, url => bc_gitops_config:repo_url(Config), auth => bc_gitops_git:auth(Config)},
    Ref = <<"refs/heads/", Branch/binary>>,
    case bc_gitops_git:request(Request, Timeout) of
        {ok, #{refs := #{Ref := Commit}}} ->
            compare({ok, Commit}, known(Input), Input);
        {ok, #{refs := #{Ref := _Newer}}} ->
            with_scratch(Config, fun(Path) ->
                Elsewhere = Input#{config := Config#{local_path := Path}},
                Followed = follow(Elsewhere),
                compare(Followed, desired(Followed, Elsewhere), Elsewhere)
            end);
        {ok, _} ->
            missing_branch(Branch, Input);
        {error, Reason} ->
            compare({error, Reason}, known(Input), Input)
    end.

missing_branch(Branch, Input) ->
    Message = <<"the repository has no branch ", Branch/binary>>,
    compare({error, {branch_not_found, #{message => Message}}}, known(Input), Input).

known(#{snapshot := undefined}) -> none;
known(#{snapshot := Snapshot, commit := Commit}) -> {ok, Snapshot, Commit}.

with_scratch(#{state_path := StatePath}, Fun) ->
    Unique = integer_to_list(erlang:unique_integer([positive])),
    Path = filename:join(StatePath, "preview-" ++ os:getpid() ++ "-" ++ Unique),
    try
        Fun(unicode:characters_to_binary(Path))
    after
        _ = file:del_dir_r(Path)
    end.

%% the repository

follow(#{config := Config}) ->
    #{repo_url := Url, local_path := Path, branch := Branch, git_timeout := Timeout} = Config,
    Request = #{
        op => follow, url => bc_gitops_config:repo_url(Config), path => Path, branch => Branch, auth => bc_gitops_git:auth(Config)
    },
    Began = erlang:monotonic_time(),
    Result = bc_gitops_git:request(Request, Timeout),
    bc_gitops_telemetry:execute(
        ?TELEMETRY_GIT_PULL,
        #{duration => erlang:monotonic_time() - Began},
        #{repo => Url, branch => Branch, result => result(Result)}
    ),
    case Result of
        {ok, #{commit := Commit}} -> {ok, Commit};
        {error, Reason} -> {error, Reason}
    end.

result({ok, _}) -> ok;
result({error, Reason}) -> {error, Reason}.

desired({ok, Commit}, #{snapshot := Snapshot, commit := Commit}) when Snapshot =/= undefined ->
    {ok, Snapshot, Commit};
desired({ok, Commit}, #{config := Config, snapshot := Previous}) ->
    open(Commit, Config, Previous);
desired({error, _}, #{snapshot := undefined, commit := Commit, config := Config}) when is_binary(Commit) ->
    %% the remote is down since before this start: what it said last is in the clone
    open(Commit, Config, undefined);
desired({error, _}, Input) ->
    known(Input).

open(Commit, Config, Previous) ->
    #{local_path := Path, apps_dir := AppsDir} = Config,
    Options = #{apps_dir => AppsDir, atom_room => bc_gitops_parser:atom_room()},
    Began = erlang:monotonic_time(),
    bc_gitops_telemetry:execute(?TELEMETRY_PARSE_START, #{system_time => erlang:system_time()},
                                #{path => AppsDir, commit => Commit}),
    Result = bc_gitops_native:snapshot_open(Path, Commit, Options, Previous),
    bc_gitops_telemetry:execute(?TELEMETRY_PARSE_STOP, #{duration => erlang:monotonic_time() - Began},
                                #{path => AppsDir, commit => Commit, result => result(Result)}),
    case Result of
        {ok, Snapshot} -> {ok, Snapshot, Commit};
        {error, Reason} -> {error, Reason}
    end.

%% comparing

compare(Followed, {ok, Snapshot, Commit}, Input) ->
    Summary = bc_gitops_native:snapshot_summary(Snapshot),
    case fits(Snapshot, Summary, Input) of
        ok -> planned(error_of(Followed), Snapshot, Commit, Summary, Input);
        {error, Reason} -> unreadable(Reason, Input)
    end;
compare({error, Reason}, none, Input) ->
    unreadable(Reason, Input);
compare(_Followed, {error, Reason}, #{snapshot := undefined} = Input) ->
    unreadable(Reason, Input);
compare(_Followed, {error, Reason}, #{snapshot := Snapshot, commit := Commit} = Input) ->
    Summary = bc_gitops_native:snapshot_summary(Snapshot),
    planned({desired_state, Reason}, Snapshot, Commit, Summary, Input).

error_of({ok, _}) -> undefined;
error_of({error, Reason}) -> {desired_state, Reason}.

%% @doc The outcome of a cycle that found out nothing: all is as it was.
-spec unreadable(Reason :: term(), input() | bc_gitops_memory:memory()) -> outcome().
unreadable(Reason, #{commit := Commit, snapshot := Snapshot, needs := Needs, refusal := Refusal}) ->
    #{
        error => {desired_state, Reason}, snapshot => Snapshot, commit => Commit, needs => Needs,
        refusal => Refusal, summary => #{errors => [], warnings => []}, plan => no_plan(), goals => [],
        current_state => unknown
    }.

no_plan() ->
    #{actions => [], blocked => [], held => [], refused => none, unchanged => 0}.

planned(Error, Snapshot, Commit, Summary, Input) ->
    {Rows, Knowledge} = current(Input),
    Watched = watched(Rows, Snapshot, Input),
    Current = [notes(Row, Commit, Watched) || Row <- Rows, element(5, Row) =/= undefined],
    Needed = bc_gitops_outside:needed(Snapshot, Commit, maps:get(needs, Input)),
    {Host, Needs} = bc_gitops_outside:available(Needed, [element(1, Row) || Row <- Rows]),
    {Desired, Managed} = {bc_gitops_native:snapshot_names(Snapshot), [element(1, Row) || Row <- Current]},
    Standing = bc_gitops_refusal:stands(maps:get(refusal, Input), Desired, Managed),
    Options = #{remove_orphans => Standing =:= undefined, host => Host},
    case bc_gitops_native:plan(Snapshot, Current, Options) of
        {ok, #{held := Held} = Planned} ->
            Refusal = bc_gitops_refusal:after_plan(Standing, Planned, Commit),
            Staying = (Managed -- Desired) -- [Name || #{name := Name} <- Held],
            Plan = bc_gitops_refusal:show(Refusal, Staying, Planned),
            Goals = goals(Plan, #{snapshot => Snapshot, commit => Commit, rows => Rows, input => Input}),
            #{
                error => Error, snapshot => Snapshot, commit => Commit, summary => Summary, plan => Plan,
                goals => Goals, needs => Needs, refusal => Refusal, current_state => Knowledge
            };
        {error, Reason} ->
            unreadable(Reason, Input)
    end.

%% Another repository, branch or directory than last time must know every app that is managed:
%% otherwise a mistyped url would remove them.
fits(_Snapshot, _Summary, #{identity := undefined}) ->
    ok;
fits(Snapshot, #{errors := Errors}, #{identity := Before, config := Config}) ->
    case bc_gitops_status:identity(Config) of
        Before ->
            ok;
        Now ->
            Known = bc_gitops_native:snapshot_names(Snapshot) ++ [Name || #{name := Name} <- Errors],
            Managed = [element(1, Row) || Row <- bc_gitops_registry:rows(), element(5, Row) =/= undefined],
            case Managed -- Known of
                [] -> ok;
                Missing -> {error, {other_repository, other(Before, Now, Missing)}}
            end
    end.

other(Before, Now, Missing) ->
    Names = lists:join(", ", [atom_to_binary(Name) || Name <- lists:sort(Missing)]),
    Message = io_lib:format(
        "the repository, branch or directory was changed, and the new one does not have what runs: "
        "~ts; add it there, remove it with bc_gitops:remove/1, or go back", [Names]),
    #{before => Before, now => Now, missing => Missing, message => unicode:characters_to_binary(Message)}.

%% Our rows, corrected by what the runtime says of the apps that it names.
current(#{config := #{runtime_module := Module}}) ->
    Rows = bc_gitops_registry:rows(),
    case ask_runtime(Module) of
        {ok, States} -> {[corrected(Row, States) || Row <- Rows], known};
        unknown -> {Rows, unknown}
    end.

ask_runtime(Module) ->
    Owner = self(),
    Ref = make_ref(),
    {Pid, Monitor} = spawn_monitor(fun() -> Owner ! {Ref, bc_gitops_runtime:current(Module)} end),
    receive
        {Ref, Answer} ->
            true = demonitor(Monitor, [flush]),
            Answer;
        {'DOWN', Monitor, process, Pid, _Reason} ->
            unknown
    after ?CURRENT_STATE ->
        true = exit(Pid, kill),
        true = demonitor(Monitor, [flush]),
        receive {Ref, _} -> ok after 0 -> ok end,
        unknown
    end.

corrected({Name, Pid, running, Health, Current, Watch, Pinned} = Row, States) when Current =/= undefined ->
    case States of
        #{Name := #app_state{status = Status}} when Status =:= stopped; Status =:= failed ->
            {Name, Pid, running, Health, setelement(3, Current, stopped), Watch, Pinned};
        #{Name := #app_state{health = unhealthy}} ->
            {Name, Pid, running, unhealthy, Current, Watch, Pinned};
        _ ->
            Row
    end;
corrected(Row, _States) ->
    Row.

%% Where the refs of the apps' sources point now: of what runs, and of what is wanted where that is
%% something else. The interval's cycles take what is known and never wait for a source.
watched(Rows, Snapshot, #{by_hand := ByHand}) ->
    Sources = lists:usort(lists:flatmap(fun(Row) -> sources(Row, Snapshot) end, Rows)),
    case {Sources, ByHand} of
        {[], _} -> ok;
        {_, true} -> _ = bc_gitops_source_watch:refresh_wait(Sources, ?REFRESH), ok;
        {_, false} -> ok = bc_gitops_source_watch:refresh(Sources)
    end,
    maps:from_list([{Source, Commit} || {Url, Ref} = Source <- Sources,
                                        {ok, Commit} <- [bc_gitops_source_watch:wanted(Url, Ref)]]).

sources({_Name, _Pid, running, _Health, _Current, Watch, _Pinned}, _Snapshot) ->
    [{Url, Ref} || {Url, Ref, _Revision} <- [Watch]];
sources({Name, _Pid, _State, _Health, _Current, Watch, _Pinned}, Snapshot) ->
    Running = [{Url, Ref} || {Url, Ref, _Revision} <- [Watch]],
    case bc_gitops_native:snapshot_spec(Snapshot, Name) of
        {ok, #app_spec{source = #source_spec{type = git, url = Url, ref = Ref}}, _Meta}
                when is_binary(Url), is_binary(Ref) ->
            [{Url, Ref} | Running];
        _ ->
            Running
    end.

%% @doc A row as the plan takes it, with what was noticed beside the comparison itself.
-spec notes(tuple(), Commit :: binary(), #{{binary(), binary()} => binary()}) -> tuple().
notes({_Name, _Pid, _State, Health, Current, Watch, Pinned}, Commit, Watched) ->
    Notes = [pinned || Pinned =:= Commit, Pinned =/= undefined] ++
        [moved || has_moved(Watch, Watched)] ++
        [unhealthy || Health =:= unhealthy],
    case Notes of
        [] -> Current;
        _ -> setelement(9, Current, Notes)
    end.

has_moved(undefined, _Watched) ->
    false;
has_moved({Url, Ref, Revision}, Watched) ->
    case Watched of
        #{{Url, Ref} := Revision} -> false;
        #{{Url, Ref} := _Other} -> true;
        #{} -> false
    end.

%% @doc What each app is told: those of the plan their goals, those that are busy with something the
%% plan does not have that there is nothing to do.
-spec goals(Plan :: map(), map()) -> [bc_gitops_goal:goal()].
goals(#{actions := Actions, blocked := Blocked, held := Held}, #{commit := Commit, rows := Rows} = Context) ->
    #{input := #{seq := Seq, by_hand := ByHand}} = Context,
    Common = #{seq => Seq, by_hand => ByHand, commit => Commit, share => max(1, length(Actions))},
    Planned = [Goal || Action <- Actions, {ok, Goal} <- [goal(Action, Common, Context)]] ++
        [bc_gitops_goal:blocked(Name, Reason, Common) || #{name := Name, reason := Reason} <- Blocked],
    Named = maps:from_list([{Name, true} || #{name := Name} <- Planned ++ Held]),
    Idle = [
        bc_gitops_goal:none(element(1, Row), Common)
     || Row <- Rows, element(3, Row) =/= running, not is_map_key(element(1, Row), Named)
    ],
    Planned ++ Idle.

goal(#{action := remove, name := Name, 'after' := After, reasons := Reasons}, Common, _Context) ->
    {ok, bc_gitops_goal:remove(Name, Common#{'after' => After, reasons => Reasons})};
goal(#{name := Name, 'after' := After, reasons := Reasons}, Common, #{snapshot := Snapshot}) ->
    case bc_gitops_native:snapshot_spec(Snapshot, Name) of
        {ok, Spec, Meta} ->
            More = Common#{'after' => After, reasons => Reasons, wanted => wanted(Spec)},
            {ok, bc_gitops_goal:apply(Spec, Meta, More)};
        {error, not_found} ->
            error
    end.

wanted(#app_spec{source = #source_spec{type = git, url = Url, ref = Ref}})
        when is_binary(Url), is_binary(Ref) ->
    case bc_gitops_source_watch:wanted(Url, Ref) of
        {ok, Commit} -> Commit;
        unknown -> unknown
    end;
wanted(_Spec) ->
    unknown.

%% @doc What `bc_gitops:plan/0' shows of an outcome.
-spec summarize(outcome(), PublicUrl :: binary(), Branch :: binary()) -> map().
summarize(#{error := Error, commit := Commit, summary := Summary, plan := Plan}, Url, Branch) ->
    #{errors := Errors, warnings := Warnings} = Summary,
    Shown = maps:with([actions, blocked, held, refused, unchanged], Plan),
    Shown#{
        repo => Url, branch => Branch, commit => Commit, error => Error,
        spec_errors => Errors, warnings => Warnings
    }.

%% @doc What of an outcome counts as failed for those who asked for the cycle.
-spec failures(outcome()) -> [map()].
failures(#{commit := Commit, summary := #{errors := Errors}, plan := Plan}) ->
    Refused = case Plan of
        #{refused := #{} = Details} ->
            [#{app => undefined, action => remove, commit => Commit, reason => {removal_refused, Details}}];
        #{} ->
            []
    end,
    Refused ++ [
        #{app => maps:get(name, Error, undefined), action => parse, commit => Commit,
          reason => {spec_errors, [Error]}}
     || Error <- Errors
    ].
