%%% @doc What callers of tally use: count, and ask how far it got.
-module(tally).

-export([hit/0, total/0, version/0]).

-define(VERSION, <<"1.0.0">>).

%% @doc Counts one step and answers the new total, with what tells who answered.
-spec hit() -> #{total := integer(), step := integer(), version := binary(), server := pid()}.
hit() ->
    gen_server:call(tally_server, {hit, ?VERSION}, 2000).

%% @doc The total as a text.
-spec total() -> binary().
total() ->
    tally_text:total(gen_server:call(tally_server, total, 2000)).

%% @doc The version that this code was written as.
-spec version() -> binary().
version() ->
    ?VERSION.
