%%% @doc The program behind `make demo': two commands, called by examples/demo.sh.
%%%
%%% `prepare' makes the repositories and a sys.config; `run' is a node started with this sys.config,
%%% as a user's would be. From there on the demo changes nothing but repositories: it pushes, waits
%%% for what bc_gitops reports, and compares what is reported with the node itself.
-module(bcg_demo).

-export([prepare/1, run/1]).

%% @doc Makes the repositories and `sys.config' in Dir; Examples is the directory examples/.
-spec prepare([string()]) -> no_return().
prepare([Dir, Examples]) ->
    finish(fun() -> bcg_demo_world:create(Dir, Examples), 0 end).

%% @doc Plays the story on this node and ends it: 0 when all claims held, else 1.
%% In a process of its own, since `-run' is part of the node's boot and nothing is deployed before
%% that is done.
-spec run([string()]) -> pid().
run([Dir, Examples]) ->
    spawn(fun() -> finish(fun() -> play(bcg_demo_world:open(Dir, Examples)) end) end).

play(Repositories) ->
    bcg_demo_screen:title(),
    World = Repositories#{goods => bcg_demo_shop:open(Repositories)},
    {ok, _} = application:ensure_all_started(bc_gitops),
    ok = bcg_demo_events:attach(),
    Outcome = bcg_demo_story:tell(World, os:getenv("DEMO_WRONG_CLAIM", "")),
    bcg_demo_screen:verdict(Outcome),
    case Outcome of
        #{broken := []} -> 0;
        #{} -> 1
    end.

finish(Fun) ->
    _ = io:setopts([{encoding, unicode}]),
    Status =
        try
            Fun()
        catch
            throw:{demo, Message} ->
                bcg_demo_screen:complaint(Message),
                1;
            Class:Reason:Stack ->
                bcg_demo_screen:complaint(
                    io_lib:format("the demo itself failed: ~tp:~tp~n~tp", [Class, Reason, Stack])),
                1
        end,
    _ = logger_std_h:filesync(default),
    erlang:halt(Status).
