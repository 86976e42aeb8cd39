%%% @doc VMs beside that of the tests, for a few calls. `peer' itself waits seconds, which is little on a
%%% machine that does much else.
-module(bct_peer).
-export([start/1, call/4]).

-define(PATIENCE, 600000).

%% @doc A VM without distribution, with more options of `peer:start/1'; `peer:stop/1' ends it.
start(Options) ->
    {ok, Peer, _} = peer:start(Options#{connection => standard_io, wait_boot => ?PATIENCE}),
    Peer.

call(Peer, Module, Function, Args) ->
    peer:call(Peer, Module, Function, Args, ?PATIENCE).
