%%% @doc A client that calls about every millisecond and remembers what it got.
-module(bct_hot_client).
-export([start/1, stop/1]).

start(Call) ->
    Owner = self(),
    Client = spawn_link(fun() -> Owner ! {self(), began}, loop(Call, #{calls => 0, failed => [], answers => []}) end),
    receive {Client, began} -> Client end.

%% @doc How many calls there were, which failed, and the answers, each once in their order.
stop(Client) ->
    Client ! {stop, self()},
    receive {Client, #{answers := Answers, failed := Failed} = Report} ->
        Report#{answers := lists:reverse(Answers), failed := lists:reverse(Failed)}
    end.

loop(Call, Report) ->
    receive {stop, From} -> From ! {self(), called(Call, Report)}
    after 1 -> loop(Call, called(Call, Report))
    end.

called(Call, #{calls := Calls, failed := Failed, answers := Answers} = Report) ->
    Next = Report#{calls := Calls + 1},
    try {Call(), Answers} of
        {Answer, [Answer | _]} -> Next;
        {Answer, _} -> Next#{answers := [Answer | Answers]}
    catch
        Class:Reason -> Next#{failed := [{Class, Reason} | Failed]}
    end.
