%%% @doc The refusal of a mass removal, and how long it stands. Pure.
%%%
%%% A commit that would remove every managed app removes none. Once one of its own apps runs, "every" is
%%% no longer true; so the refusal names what was managed before, and stands until a commit has a good
%%% spec of one of these apps again, or until none of them is left. A further commit without them, a call
%%% of `reconcile/0' or a restart does not lift it. While it stands nothing is removed by a cycle.
-module(bc_gitops_refusal).

-export([stands/3, after_plan/3, show/3]).

-export_type([refusal/0]).

%% The first commit that was refused, and the apps that it would have removed.
-type refusal() :: #{commit := binary(), names := [atom()]}.

-define(NAMED, 10).

%% @doc The refusal that holds for a desired state that has Desired while Managed are here.
-spec stands(refusal() | undefined, Desired :: [atom()], Managed :: [atom()]) -> refusal() | undefined.
stands(undefined, _Desired, _Managed) ->
    undefined;
stands(#{names := Names} = Refusal, Desired, Managed) ->
    AreIn = fun(List) -> not ordsets:is_disjoint(lists:usort(Names), lists:usort(List)) end,
    case AreIn(Managed) andalso not AreIn(Desired) of
        true -> Refusal;
        false -> undefined
    end.

%% @doc What is remembered once a plan was made under what stood.
-spec after_plan(refusal() | undefined, Plan :: map(), Commit :: binary()) -> refusal() | undefined.
after_plan(undefined, #{refused := #{names := Names}}, Commit) -> #{commit => Commit, names => Names};
after_plan(Standing, _Plan, _Commit) -> Standing.

%% @doc The plan with the refusal in it, as it is shown: `names' are all that stay because of it.
-spec show(refusal() | undefined, Staying :: [atom()], Plan :: map()) -> map().
show(undefined, _Staying, Plan) ->
    Plan;
show(#{commit := Commit}, Staying, Plan) ->
    Names = lists:sort(Staying),
    Plan#{refused => #{reason => all_orphans, names => Names, commit => Commit, message => message(Commit, Names)}}.

message(Commit, Names) ->
    More = case length(Names) - ?NAMED of
        Rest when Rest > 0 -> io_lib:format(" and ~b more", [Rest]);
        _ -> ""
    end,
    Named = lists:join(", ", [atom_to_binary(Name) || Name <- lists:sublist(Names, ?NAMED)]),
    unicode:characters_to_binary(io_lib:format(
        "since commit ~ts the repository has none of the apps that were managed; no app is removed until that "
        "is resolved (~ts~ts stay). To keep them, put them back. To remove them, call bc_gitops:remove/1 for "
        "each, or make two commits: one that has at least one of them, then one without it",
        [binary:part(Commit, 0, min(7, byte_size(Commit))), Named, More])).
