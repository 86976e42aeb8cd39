%%% @doc What one cycle leaves to the next one. What of it a restart needs is on disk: which repository
%%% is followed, the last commit that was read, and a refusal that stands.
-module(bc_gitops_memory).

-export([read/1, learn/3]).

-export_type([memory/0]).

-type memory() :: #{
    identity := map() | undefined,                        % which repository, decisions 15
    snapshot := bc_gitops_native:snapshot() | undefined,
    commit := binary() | undefined,                       % the last one whose specs were read
    needs := bc_gitops_outside:needs() | undefined,
    refusal := bc_gitops_refusal:refusal() | undefined
}.

%% @doc What the last run knew.
-spec read(bc_gitops_config:config()) -> memory().
read(#{state_path := StatePath} = Config) ->
    Repo = bc_gitops_state:read_repo(StatePath),
    #{
        identity => maps:get(identity, Repo, undefined), snapshot => undefined,
        commit => known_commit(Repo, Config), needs => undefined,
        refusal => maps:get(refusal, Repo, undefined)
    }.

%% The commit of another repository says nothing.
known_commit(#{identity := Identity, commit := Commit}, Config) ->
    case bc_gitops_status:identity(Config) of
        Identity -> Commit;
        _ -> undefined
    end;
known_commit(_Repo, _Config) ->
    undefined.

%% @doc Adds what a cycle found out, and writes what has changed; the commit only after it was read.
-spec learn(bc_gitops_cycle:outcome(), memory(), bc_gitops_config:config()) -> memory().
learn(#{snapshot := undefined}, Memory, _Config) ->
    Memory;
learn(#{error := {desired_state, _}} = Outcome, Memory, Config) ->
    Learned = found(Outcome, Memory),
    %% what was written of the commit and the repository still holds
    ok = write(maps:merge(Learned, maps:with([commit, identity], Memory)), Memory, Config),
    Learned;
learn(#{snapshot := Snapshot, commit := Commit} = Outcome, Memory, Config) ->
    bc_gitops_registry:put(snapshot, {Snapshot, Commit}),
    Learned = (found(Outcome, Memory))#{identity := bc_gitops_status:identity(Config)},
    ok = write(Learned, Memory, Config),
    Learned.

found(Outcome, Memory) ->
    maps:merge(Memory, maps:with([snapshot, commit, needs, refusal], Outcome)).

write(Now, Before, #{state_path := StatePath}) ->
    case {on_disk(Now), on_disk(Before)} of
        {Same, Same} -> ok;
        {Repo, _} -> note(bc_gitops_state:write_repo(StatePath, Repo))
    end.

on_disk(Memory) ->
    maps:with([commit, identity, refusal], Memory).

note(ok) -> ok;
note({error, Reason}) -> bc_gitops_registry:put(state_error, Reason).
