%%% @doc Plans, against OTP's `digraph' for the order of what is new.
-module(bench_plan).

-export([run/0]).

-define(FP, <<0:256>>).

run() ->
    [rows(Count) || Count <- [100, 1000, 10000]],
    ok.

rows(Count) ->
    Names = [list_to_atom(bench_repo:name(N)) || N <- lists:seq(1, Count)],
    {Apps, _} = lists:mapfoldl(
        fun(Name, Before) -> {{Name, Before}, lists:sublist([Name | Before], 2)} end, [], Names),
    Wanted = [{N, atom_to_binary(N), <<"1.0.0">>, ?FP, ?FP, embedded, D} || {N, D} <- Apps],
    Current = [{N, atom_to_binary(N), running, <<"1.0.0">>, ?FP, ?FP, embedded, D, []} || {N, D} <- Apps],
    bench_rows:row(#{
        what => io_lib:format("plan ~b new apps with 2 dependencies each", [Count]),
        ours => fun() ->
            {ok, #{actions := [_ | _], blocked := []}} = bc_gitops_native:plan(Wanted, [], #{})
        end,
        theirs => {"digraph_utils:topsort", fun() -> sorted(Apps) end},
        aim => aim(Count, 25)}),
    bench_rows:row(#{
        what => io_lib:format("plan ~b unchanged apps", [Count]),
        ours => fun() ->
            {ok, #{actions := [], unchanged := Count}} = bc_gitops_native:plan(Wanted, Current, #{})
        end,
        aim => aim(Count, 10)}).

aim(10000, Most) -> {ms, Most};
aim(_, _) -> none.

sorted(Apps) ->
    Graph = digraph:new([acyclic]),
    _ = [digraph:add_vertex(Graph, Name) || {Name, _} <- Apps],
    _ = [digraph:add_edge(Graph, D, Name) || {Name, Ds} <- Apps, D <- Ds],
    [_ | _] = digraph_utils:topsort(Graph),
    true = digraph:delete(Graph).
