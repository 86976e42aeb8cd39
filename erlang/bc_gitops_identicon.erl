%%% @doc Pictures for names: 5x5 cells mirrored left to right, in a colour that comes from a hash.
%%%
%%% The same name has the same picture at any time and on any node, whether it is given as an atom, a
%%% binary or a string. Nothing needs to be started.
-module(bc_gitops_identicon).

-export([generate/1, generate/2, to_data_uri/1, to_data_uri/2]).

-export_type([input/0]).

-define(DEFAULT_SIZE, 64).
%% What is longer is hashed where that holds no scheduler.
-define(MAX_DIRECT_INPUT, 65536).
-define(MAX_SIZE, 16#ffffffff).

-type input() :: atom() | binary() | string().

%% @doc `generate(Input, 64)'.
-spec generate(input()) -> binary().
generate(Input) ->
    generate(Input, ?DEFAULT_SIZE).

%% @doc An SVG document of Size by Size pixels.
-spec generate(input(), Size :: pos_integer()) -> binary().
generate(Input, Size) when is_integer(Size), Size > 0, Size =< ?MAX_SIZE ->
    bc_gitops_native:identicon(bytes(Input), Size).

%% @doc `to_data_uri(Input, 64)'.
-spec to_data_uri(input()) -> binary().
to_data_uri(Input) ->
    to_data_uri(Input, ?DEFAULT_SIZE).

%% @doc The same document as a `data:' URI (base64), to be put into a page.
-spec to_data_uri(input(), Size :: pos_integer()) -> binary().
to_data_uri(Input, Size) when is_integer(Size), Size > 0, Size =< ?MAX_SIZE ->
    bc_gitops_native:identicon_uri(bytes(Input), Size).

bytes(Input) when is_binary(Input), byte_size(Input) =< ?MAX_DIRECT_INPUT ->
    Input;
bytes(Input) when is_binary(Input) ->
    bc_gitops_native:digest_bytes(sha256, Input);
bytes(Input) when is_atom(Input) ->
    atom_to_binary(Input);
bytes(Input) when is_list(Input) ->
    case unicode:characters_to_binary(Input) of
        Bytes when is_binary(Bytes) -> bytes(Bytes);
        _NotCharacters -> error(badarg, [Input])
    end.
