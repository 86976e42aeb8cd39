%%% @doc How a total is written for people: in place of tally_text since 1.1.0.
-module(tally_words).

-export([spell/1]).

-spec spell(integer()) -> binary().
spell(Total) ->
    iolist_to_binary(["counted to ", lists:join($., thousands(integer_to_list(abs(Total))))]).

thousands(Digits) when length(Digits) > 3 ->
    {Head, Tail} = lists:split(length(Digits) - 3, Digits),
    thousands(Head) ++ [Tail];
thousands(Digits) ->
    [Digits].
