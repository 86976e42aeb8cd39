%%% @doc How a total is written for people.
-module(tally_text).

-export([total/1]).

-spec total(integer()) -> binary().
total(Total) ->
    <<"counted to ", (integer_to_binary(Total))/binary>>.
