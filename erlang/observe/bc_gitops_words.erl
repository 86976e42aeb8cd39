%%% @doc Terms as people read them: names in a row, reasons without braces, bounded in depth and size.
%%% What it makes of a term is for logs and answers, never for programs.
-module(bc_gitops_words).

-export([text/2, value/1, names/1, names/2, pairs/2, reason/1]).

%% As many as are named one by one.
-define(NAMED, 10).
-define(DEPTH, 6).
-define(MAX_CHARS, 400).

%% @doc `io_lib:format/2' as a binary.
-spec text(io:format(), [term()]) -> binary().
text(Format, Args) ->
    unicode:characters_to_binary(io_lib:format(Format, Args)).

%% @doc A name or a text as it stands. What is neither is said as a reason: details come from modules of
%% others too.
-spec value(term()) -> unicode:chardata().
value(Name) when is_atom(Name) ->
    atom_to_binary(Name);
value(Text) when is_binary(Text); is_list(Text) ->
    try unicode:characters_to_binary(Text) of
        Good when is_binary(Good) -> Good;
        _ -> reason(Text)
    catch
        error:badarg -> reason(Text)
    end;
value(Other) ->
    reason(Other).

-spec names([term()]) -> unicode:chardata().
names(Names) ->
    names(", ", Names).

%% @doc The first names, and how many more there are.
-spec names(Between :: string(), [term()]) -> unicode:chardata().
names(Between, Names) when is_list(Names) ->
    More = [io_lib:format(" and ~b more", [length(Names) - ?NAMED]) || length(Names) > ?NAMED],
    [lists:join(Between, [value(Name) || Name <- lists:sublist(Names, ?NAMED)]) | More];
names(_Between, Other) ->
    value(Other).

%% @doc Pairs, with Between between the two of each.
-spec pairs(Between :: string(), [term()]) -> unicode:chardata().
pairs(Between, Pairs) when is_list(Pairs) ->
    names([
        case Pair of
            {Left, Right} -> [value(Left), Between, value(Right)];
            Other -> Other
        end
     || Pair <- Pairs
    ]);
pairs(_Between, Other) ->
    value(Other).

%% @doc A reason as OTP and its applications give them, in words: what failed, and in which function.
-spec reason(term()) -> unicode:chardata().
reason(Reason) ->
    Said = unicode:characters_to_binary(say(Reason, ?DEPTH)),
    case string:length(Said) > ?MAX_CHARS of
        true -> [string:slice(Said, 0, ?MAX_CHARS), "..."];
        false -> Said
    end.

say(_Term, 0) -> "...";
say(Atom, _) when is_atom(Atom) -> atom_to_binary(Atom);
say(Text, _) when is_binary(Text) -> printable(Text);
say([], _) -> "an empty list";
say(List, Depth) when is_list(List) -> say_list(List, Depth);
say({{shutdown, _} = Down, {M, F, A}}, Depth) when is_atom(M), is_atom(F) ->
    [say(Down, Depth), called(M, F, A)];
say({shutdown, Reason}, Depth) -> say(Reason, Depth);
say({failed_to_start_child, Id, Reason}, Depth) ->
    ["its child ", say(Id, Depth - 1), " did not start: ", say(Reason, Depth - 1)];
say({bad_return, {{M, F, A}, {'EXIT', Reason}}}, Depth) when is_atom(M), is_atom(F) ->
    [function(M, F, A), " crashed: ", say(Reason, Depth - 1)];
say({bad_return, {{M, F, A}, Answer}}, Depth) when is_atom(M), is_atom(F) ->
    [function(M, F, A), " answered ", say(Answer, Depth - 1)];
say({not_started, App}, _) when is_atom(App) -> [atom_to_binary(App), " is not started"];
say({'EXIT', Reason}, Depth) -> say(Reason, Depth);
say({Class, Reason, [{_, _, _, _} | _] = Stack}, Depth) when is_atom(Class) ->
    say({Reason, Stack}, Depth);
say({Reason, [{M, F, A, Place} | _]}, Depth) when is_atom(M), is_atom(F), is_list(Place) ->
    [say(Reason, Depth - 1), called(M, F, A)];
say({Reason, {M, F, A}}, Depth) when is_atom(M), is_atom(F), is_list(A) ->
    [say(Reason, Depth - 1), called(M, F, A)];
say(Tuple, Depth) when is_tuple(Tuple) -> say_tuple(tuple_to_list(Tuple), Depth);
say(Map, Depth) when is_map(Map) ->
    Pairs = lists:sublist(lists:sort(maps:to_list(Map)), ?NAMED),
    lists:join(", ", [[say(K, Depth - 1), " = ", inner(V, Depth - 1)] || {K, V} <- Pairs]);
say(Other, _) ->
    io_lib:format("~0tp", [Other]).

called(M, F, A) -> [" in ", function(M, F, A)].

function(M, F, A) ->
    Arity = case A of
        Args when is_list(Args) -> length(Args);
        Number -> Number
    end,
    io_lib:format("~ts:~ts/~0tp", [M, F, Arity]).

say_list(List, Depth) ->
    case io_lib:printable_unicode_list(List) of
        true -> List;
        false -> say_items(List, ?NAMED, Depth - 1)
    end.

say_items([Item], _, Depth) -> inner(Item, Depth);
say_items([_ | _], 0, _) -> "...";
say_items([Item | Rest], Left, Depth) when is_list(Rest) ->
    [inner(Item, Depth), ", " | say_items(Rest, Left - 1, Depth)];
say_items([Item | Tail], _, Depth) -> [inner(Item, Depth), " and ", inner(Tail, Depth)].

say_tuple([], _) -> "an empty tuple";
say_tuple([Only], Depth) -> say(Only, Depth - 1);
say_tuple([Kind, Nothing], Depth) when map_size(Nothing) =:= 0 -> say(Kind, Depth - 1);
say_tuple([Kind | Rest], Depth) when is_atom(Kind) ->
    [atom_to_binary(Kind), ": ", say_items(Rest, ?NAMED, Depth - 1)];
say_tuple(Items, Depth) ->
    say_items(Items, ?NAMED, Depth - 1).

%% What stands beside others and has parts of its own is kept together.
inner(Term, Depth) when is_tuple(Term), tuple_size(Term) > 1; is_map(Term), map_size(Term) > 1 ->
    ["(", say(Term, Depth), ")"];
inner(Term, Depth) ->
    say(Term, Depth).

printable(Text) ->
    Chars = unicode:characters_to_list(Text),
    case is_list(Chars) andalso io_lib:printable_unicode_list(Chars) of
        true -> Text;
        false -> io_lib:format("~b bytes", [byte_size(Text)])
    end.
