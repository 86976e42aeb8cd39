%%% @doc Counting on rows of ten: a library without a process.
-module(beads).

-export([rows/1, version/0]).

%% @doc The beads of each row, the units first.
-spec rows(non_neg_integer()) -> [0..9].
rows(Number) when Number < 10 -> [Number];
rows(Number) -> [Number rem 10 | rows(Number div 10)].

%% @doc The version that this code was written as.
-spec version() -> binary().
version() ->
    <<"1.0.0">>.
