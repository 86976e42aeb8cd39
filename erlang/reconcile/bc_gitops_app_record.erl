%%% @doc What is written down of an app as its life goes on: what is wanted of it, the journal of a switch,
%%% what landed, its history, its quarantine. Pure: takes what `bc_gitops_state' keeps and answers
%%% what it is to keep.
-module(bc_gitops_app_record).

-export([wanted/2, journal/3, unjournal/1, landed/4, remember/3]).
-export([failed/4, learn/2, lift/1]).
-export([builds/1, fallback/2]).

-export_type([entry/0]).

%% One line of the history.
-type entry() :: #{
    action := bc_gitops_goal:step(),
    target := bc_gitops_state:revision() | undefined,
    commit := binary() | undefined,
    duration := integer(),                  % native time
    how => map()                            % how new code took the place of old code
}.

-define(HISTORY, 20).

%% @doc A goal is taken up.
-spec wanted(bc_gitops_goal:goal(), bc_gitops_state:app()) -> bc_gitops_state:app().
wanted(#{what := apply, dir := Dir, commit := Commit, origin := Origin}, Store) ->
    Store#{dir := Dir, commit := Commit, origin := Origin};
wanted(_Goal, Store) ->
    Store.

%% @doc The app is about to be touched.
-spec journal(bc_gitops_goal:step(), bc_gitops_state:revision() | undefined, bc_gitops_state:app()) ->
    bc_gitops_state:app().
journal(Action, Target, Store) ->
    Switch = #{
        action => Action, target => Target, at => erlang:system_time(second),
        vm => bc_gitops_node:incarnation()
    },
    Status = case Action of remove -> removing; _ -> switching end,
    Store#{switch := Switch, status := Status}.

-spec unjournal(bc_gitops_state:app()) -> bc_gitops_state:app().
unjournal(Store) ->
    Store#{switch := undefined}.

%% @doc What runs is what was wanted: it is what a restart will start.
-spec landed(bc_gitops_goal:step(), bc_gitops_state:revision(), bc_gitops_goal:goal(), bc_gitops_state:app()) ->
    bc_gitops_state:app().
landed(Action, Target, Goal, #{confirmed := Before, previous := Previous, deaths := Deaths} = Store) ->
    Landed = Store#{
        current := Target, confirmed := Target, switch := undefined, status := running,
        deaths := maps:remove(bc_gitops_goal:revision_id(Target), Deaths),
        previous := case Before of undefined -> Previous; Target -> Previous; _ -> Before end
    },
    case Action of
        restore -> Landed;
        _ -> Landed#{pinned := pin(Goal), quarantine := undefined}
    end.

pin(#{pin := true, commit := Commit}) -> Commit;
pin(_Goal) -> undefined.

%% @doc Adds how an attempt has ended to the history.
-spec remember(ok | {error, term()}, entry(), bc_gitops_state:app()) -> bc_gitops_state:app().
remember(Result, Entry, #{history := History, current := Current} = Store) ->
    #{action := Action, target := Target, commit := Commit, duration := Duration} = Entry,
    Line = (maps:get(how, Entry, #{}))#{
        at => erlang:system_time(second), action => Action,
        from => version(Current), to => version(Target), commit => Commit,
        result => case Result of ok -> ok; {error, Reason} -> bc_gitops_failure:describe(Reason) end,
        duration_ms => erlang:convert_time_unit(Duration, native, millisecond)
    },
    Store#{history := lists:sublist([Line | History], ?HISTORY)}.

version(undefined) -> undefined;
version(#{version := Version}) -> Version.

%% @doc What was tried has failed. When it is given up, then for the revision that preparing it has found.
-spec failed(bc_gitops_failure:class(), Reason :: term(),
             {bc_gitops_goal:goal(), Prepared :: map() | undefined}, bc_gitops_state:app()) ->
    bc_gitops_state:app().
failed(quarantine, Reason, {#{what := apply} = Goal, Prepared}, Store) ->
    {Identity, Wanted} = bc_gitops_goal:quarantine_id(Goal),
    Revision = case Prepared of
        #{revision := Known} when is_binary(Known) -> Known;
        _ -> Wanted
    end,
    Quarantine = #{id => {Identity, Revision}, reason => Reason, at => erlang:system_time(second)},
    Store#{status := quarantined, quarantine := Quarantine};
failed(quarantine, _Reason, _Tried, Store) ->
    Store#{status := quarantined};
failed(retry, _Reason, _Tried, Store) ->
    Store#{status := backing_off}.

%% @doc What the quarantine is for may be known better now.
-spec learn(bc_gitops_goal:goal(), bc_gitops_state:app()) -> bc_gitops_state:app().
learn(#{what := apply} = Goal, #{quarantine := #{} = Quarantine} = Store) ->
    Store#{quarantine := bc_gitops_goal:learn(Goal, Quarantine)};
learn(_Goal, Store) ->
    Store.

-spec lift(bc_gitops_state:app()) -> bc_gitops_state:app().
lift(Store) ->
    Store#{quarantine := undefined}.

%% @doc The builds that must stay in the store: what runs, what a restart or a rollback needs, and what
%% is just switched on.
-spec builds(bc_gitops_state:app()) -> [binary()].
builds(#{current := Current, confirmed := Confirmed, previous := Previous, switch := Switch}) ->
    Target = case Switch of undefined -> undefined; #{target := Wanted} -> Wanted end,
    lists:usort([Key || #{key := Key} <- [Current, Confirmed, Previous, Target], is_binary(Key)]).

%% @doc What ran well before, when it is not what the goal is about: it is started again while that is
%% given up.
-spec fallback(bc_gitops_goal:goal() | undefined, bc_gitops_state:app()) ->
    {ok, bc_gitops_state:revision()} | none.
fallback(#{what := apply} = Goal, #{confirmed := #{} = Confirmed}) ->
    case bc_gitops_goal:satisfied_by(Goal, Confirmed) of
        true -> none;
        false -> {ok, Confirmed}
    end;
fallback(_Goal, _Store) ->
    none.
