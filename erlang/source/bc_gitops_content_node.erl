%%% @doc Other nodes as stores: they read the directories among their own `content_stores', piece by
%%% piece. A node that asks names a content id and nothing else: no path crosses the border.
-module(bc_gitops_content_node).
-behaviour(bc_gitops_content_store).

-export([get/2, name/1, holders/2]).
%% Called from other nodes
-export([size/1, read/3]).

-import(bc_gitops_words, [text/2]).

%% What one message carries: small enough that heartbeats between the nodes pass in time.
-define(PART, 1024 * 1024).
%% A node that does not answer one small question in this time is not waited for.
-define(PATIENCE, 15000).

-spec name({node, node()}) -> binary().
name({node, Node}) -> atom_to_binary(Node).

%% @doc The connected nodes that say they have a content; all are asked at once.
-spec holders(Mcid :: binary(), Until :: integer()) -> [{node, node()}].
holders(Mcid, Until) ->
    Nodes = nodes(),
    Answers = erpc:multicall(Nodes, ?MODULE, size, [Mcid], patience(#{until => Until})),
    [{node, Node} || {Node, {ok, {ok, _}}} <- lists:zip(Nodes, Answers)].

-spec get({node, node()}, bc_gitops_content_store:asked()) ->
    {ok, binary()} | not_found | {error, {atom(), map()}}.
get({node, Node}, #{mcid := Mcid} = Asked) ->
    case ask(Node, size, [Mcid], Asked) of
        {ok, Size} when is_integer(Size) -> copy(Node, Size, Asked);
        not_found -> not_found;
        {error, _} = Error -> Error;
        Other -> strange(Node, Other)
    end.

copy(Node, Size, #{limit := Limit}) when Size > Limit ->
    failed(too_large, Node, "has it with ~b bytes, and ~b is the limit", [Size, Limit]);
copy(Node, Size, #{to := To} = Asked) ->
    case file:open(To, [write, exclusive, raw, binary]) of
        {ok, File} ->
            Copied = parts(Node, File, 0, Size, Asked),
            Closed = file:close(File),
            case {Copied, Closed} of
                {ok, ok} -> {ok, To};
                {ok, {error, Reason}} -> unwritable(To, Reason);
                {{error, _} = Error, _} -> Error
            end;
        {error, Reason} ->
            unwritable(To, Reason)
    end.

parts(_Node, _File, Size, Size, _Asked) ->
    ok;
parts(Node, File, Offset, Size, #{mcid := Mcid, to := To, on_progress := OnProgress} = Asked) ->
    case ask(Node, read, [Mcid, Offset, min(?PART, Size - Offset)], Asked) of
        {ok, <<_, _/binary>> = Bytes} when Offset + byte_size(Bytes) =< Size ->
            case file:write(File, Bytes) of
                ok ->
                    Next = Offset + byte_size(Bytes),
                    _ = OnProgress(#{received_bytes => Next, total_bytes => Size}),
                    parts(Node, File, Next, Size, Asked);
                {error, Reason} ->
                    unwritable(To, Reason)
            end;
        not_found -> failed(connection_broken, Node, "no longer has it", []);
        {error, _} = Error -> Error;
        Other -> strange(Node, Other)
    end.

ask(Node, Function, Args, Asked) ->
    try erpc:call(Node, ?MODULE, Function, Args, patience(Asked))
    catch
        error:{erpc, noconnection} -> failed(unreachable, Node, "is not connected", []);
        error:{erpc, timeout} -> failed(timeout, Node, "did not answer in time", []);
        error:{exception, undef, _} ->
            failed(unreachable, Node, "does not run a bc_gitops that knows of content", []);
        _:_ -> failed(unreachable, Node, "could not look for it", [])
    end.

patience(#{until := Until}) ->
    max(1, min(?PATIENCE, Until - erlang:monotonic_time(millisecond))).

strange(Node, _Answer) ->
    failed(protocol, Node, "answers what makes no sense", []).

failed(Kind, Node, Format, Args) ->
    {error, {Kind, #{node => Node, message => text("the node ~s " ++ Format, [Node | Args])}}}.

unwritable(Path, Reason) ->
    {error, bc_gitops_content_error:unwritable(Path, Reason)}.

%% @doc Asked by another node: the size of a content in the directories of this node.
-spec size(Mcid :: binary()) -> {ok, non_neg_integer()} | not_found.
size(Mcid) ->
    case find(Mcid) of
        {ok, _Path, Size} -> {ok, Size};
        not_found -> not_found
    end.

%% @doc Asked by another node: some bytes of it.
-spec read(Mcid :: binary(), Offset :: non_neg_integer(), Length :: pos_integer()) ->
    {ok, binary()} | not_found.
read(Mcid, Offset, Length) when is_integer(Offset), Offset >= 0, is_integer(Length), Length > 0 ->
    case find(Mcid) of
        {ok, Path, _Size} -> pread(Path, Offset, min(Length, ?PART));
        not_found -> not_found
    end.

pread(Path, Offset, Length) ->
    case file:open(Path, [read, raw, binary]) of
        {ok, File} ->
            Read = file:pread(File, Offset, Length),
            ok = file:close(File),
            case Read of
                {ok, Bytes} -> {ok, Bytes};
                _ -> not_found
            end;
        {error, _} ->
            not_found
    end.

%% The name is made of the checked id, so that it leads nowhere else.
find(Mcid) ->
    case bc_gitops_native:mesh_mcid(Mcid) of
        {ok, #{mcid := Name}} ->
            Stores = maps:get(content_stores, bc_gitops_config:current()),
            Found = [Hit || {dir, Dir} <- Stores,
                            {ok, _, _} = Hit <- [bc_gitops_content_dir:find(Dir, Name)]],
            case Found of
                [Hit | _] -> Hit;
                [] -> not_found
            end;
        {error, _} ->
            not_found
    end.
