%%% @doc How a total is written for people. This version does not compile: Totl is nobody's.
-module(tally_words).

-export([spell/1]).

-spec spell(integer()) -> binary().
spell(Total) ->
    <<"counted to ", (integer_to_binary(Totl))/binary>>.
