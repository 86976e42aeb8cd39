%%% @doc What builds print: the last builds of each application, each up to a limit of bytes (the
%%% oldest lines go first). Writers are the building processes; nobody waits on anybody.
-module(bc_gitops_build_log).

-export([new/0, open/2, write/2, tail/2, last/2, read/1, forget/1]).

-export_type([log/0]).

-opaque log() :: {Name :: atom(), Build :: integer()}.

-define(TABLE, ?MODULE).
-define(MAX_BYTES, 262144).
-define(MAX_BUILDS, 3).
%% How much is read for the last lines, and how long one may be.
-define(LOOK_BACK, 8192).
-define(LONGEST, 500).

%% Rows: {{Name, Build, 0}, LastSequence, Bytes} heads the chunks {{Name, Build, Sequence}, Chunk}.

%% @doc Makes the table; its owner is the caller.
-spec new() -> ok.
new() ->
    ?TABLE = ets:new(?TABLE, [ordered_set, public, named_table, {write_concurrency, true}]),
    ok.

%% @doc Begins the log of a build of Name; the first line is Title.
-spec open(atom(), iodata()) -> log().
open(Name, Title) ->
    Build = erlang:unique_integer([monotonic, positive]),
    true = ets:insert(?TABLE, {{Name, Build, 0}, 0, 0}),
    drop_builds(Name, builds(Name)),
    Log = {Name, Build},
    write(Log, [Title, $\n]),
    Log.

%% @doc Adds output as it comes, in pieces of any shape.
-spec write(log(), iodata()) -> ok.
write({Name, Build}, Output) ->
    Chunk = iolist_to_binary(Output),
    Head = {Name, Build, 0},
    try ets:update_counter(?TABLE, Head, [{2, 1}, {3, byte_size(Chunk)}]) of
        [Sequence, Bytes] ->
            true = ets:insert(?TABLE, {{Name, Build, Sequence}, Chunk}),
            trim(Head, Bytes)
    catch
        error:badarg -> ok % the log was forgotten, or its table's owner is being restarted
    end.

%% @doc The last lines of a build.
-spec tail(log(), pos_integer()) -> binary().
tail({Name, Build}, Lines) ->
    All = binary:split(string:trim(text(Name, Build), trailing, "\n"), <<"\n">>, [global]),
    Last = lists:nthtail(max(0, length(All) - Lines), All),
    iolist_to_binary(lists:join($\n, Last)).

%% @doc The last lines, oldest first, read without the rest; long ones are cut.
-spec last(log(), pos_integer()) -> [binary()].
last({Name, Build}, Lines) ->
    Key = {Name, Build, last}, % an atom comes after all numbers
    Text = readable(without_passwords(iolist_to_binary(newest(Key, {Name, Build}, ?LOOK_BACK, [])))),
    Whole = [string:trim(Line, trailing, "\r") || Line <- binary:split(Text, <<"\n">>, [global, trim])],
    Said = [readable(binary:part(Line, 0, min(?LONGEST, byte_size(Line)))) || Line <- Whole, Line =/= <<>>],
    lists:nthtail(max(0, length(Said) - Lines), Said).

newest(Key, {Name, Build} = Log, Left, Chunks) when Left > 0 ->
    try ets:prev(?TABLE, Key) of
        {Name, Build, Sequence} = Newer when Sequence > 0 ->
            case ets:lookup(?TABLE, Newer) of
                [{_, Chunk}] -> newest(Newer, Log, Left - byte_size(Chunk), [Chunk | Chunks]);
                [] -> newest(Newer, Log, Left, Chunks)
            end;
        _ ->
            Chunks
    catch
        error:badarg -> Chunks % the table's owner is being restarted
    end;
newest(_Key, _Log, _Left, Chunks) ->
    Chunks.

%% @doc The last builds of an application, the newest last.
-spec read(atom()) -> {ok, binary()} | {error, not_found}.
read(Name) ->
    case builds(Name) of
        [] -> {error, not_found};
        Builds -> {ok, iolist_to_binary(lists:join($\n, [text(Name, Build) || Build <- Builds]))}
    end.

%% @doc Drops the logs of an application.
-spec forget(atom()) -> ok.
forget(Name) ->
    delete(Name, '_').

builds(Name) ->
    try ets:select(?TABLE, [{{{Name, '$1', 0}, '_', '_'}, [], ['$1']}])
    catch error:badarg -> []
    end.

drop_builds(Name, OldestFirst) ->
    Old = lists:sublist(OldestFirst, max(0, length(OldestFirst) - ?MAX_BUILDS)),
    lists:foreach(fun(Build) -> delete(Name, Build) end, Old).

delete(Name, Build) ->
    _ = ets:select_delete(?TABLE, [{{{Name, Build, '_'}, '_'}, [], [true]},
                                   {{{Name, Build, '_'}, '_', '_'}, [], [true]}]),
    ok.

text(Name, Build) ->
    Chunks = ets:select(?TABLE, [{{{Name, Build, '_'}, '$1'}, [], ['$1']}]),
    readable(without_passwords(iolist_to_binary(Chunks))).

%% A build prints any bytes. What is read of them is text, which callers format and trim.
readable(Bytes) ->
    case unicode:characters_to_binary(Bytes) of
        Bytes -> Bytes;
        _ -> readable(Bytes, <<>>)
    end.

readable(<<Char/utf8, Rest/binary>>, Text) -> readable(Rest, <<Text/binary, Char/utf8>>);
readable(<<_, Rest/binary>>, Text) -> readable(Rest, <<Text/binary, 16#FFFD/utf8>>);
readable(<<>>, Text) -> Text.

%% A build tool prints the urls it fetches from, user and password included.
without_passwords(Text) ->
    re:replace(Text, <<"(://)[^/@\\s]+@">>, <<"\\1">>, [global, {return, binary}]).

trim(_Head, Bytes) when Bytes =< ?MAX_BYTES ->
    ok;
trim({Name, Build, 0} = Head, _Bytes) ->
    case ets:next(?TABLE, Head) of
        {Name, Build, _} = Oldest ->
            Size = chunk_size(ets:take(?TABLE, Oldest)),
            trim(Head, ets:update_counter(?TABLE, Head, {3, -Size}));
        _ ->
            ok
    end.

chunk_size([{_, Chunk}]) -> byte_size(Chunk);
chunk_size([]) -> 0.
